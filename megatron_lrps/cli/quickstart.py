"""``lrps quickstart``: a whole campaign on a small CPU machine, from real text to a model that writes."""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.scores import read_results, scores_of
from megatron_lrps.cli.export import export
from megatron_lrps.cli.report import report
from megatron_lrps.cli.run import run
from megatron_lrps.cli.tensorboard import tensorboard
from megatron_lrps.convert.version_checkpoint import find_version_checkpoint
from megatron_lrps.data.quickstart.corpus import prepare_quickstart
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.score_table import ScoreTable, score_table
from megatron_lrps.monitor.text_table import table
from megatron_lrps.monitor.version_costs import VersionCosts, version_costs
from megatron_lrps.storage.files import write_atomic

VOCABULARY = 2048
WINDOW_CHARACTERS = 1_200_000
PROMPTS = ("The ", "    def test_")
TOKENS_WRITTEN = 64
MINUTES = {False: 6, True: 15}
"""On two cores with other work beside, without and with ``--baselines``."""

PLAN = """\
# The quick start's campaign: four versions, each with a window of new text of one distribution. Edit and rerun, or
# copy it. Model, data and length are those of the study of examples/paper/cpu.yaml by cosine.
campaign: quickstart
save: campaign
paradigm: lrps # [lrps, ptfs, cpt]: also by retraining from scratch and by continuing, for comparison
lr: {max: 1.5e-3, min: 1.5e-4, warmup_iters: 20}
decay: {shape: cosine, alpha: 0.6}
sequence_length: 128
global_batch_size: 8
versions: # all are validated on the same held-out text
  - {name: v1, iters: 300, train: [[1.0, data/v1/train]], valid: {held-out: data/valid}}
  - {name: v2, iters: 300, train: [[1.0, data/v2/train]], valid: {held-out: data/valid}}
  - {name: v3, iters: 300, train: [[1.0, data/v3/train]], valid: {held-out: data/valid}}
  - {name: v4, iters: 300, train: [[1.0, data/v4/train]], valid: {held-out: data/valid}}
tokenizer: {type: sentencepiece, model: data/tokenizer.model}
megatron:
  num-layers: 2
  hidden-size: 96
  ffn-hidden-size: 256
  num-attention-heads: 3
  swiglu: true
  normalization: RMSNorm
  position-embedding-type: rope
  disable-bias-linear: true
  untie-embeddings-and-output-weights: true
  attention-dropout: 0.0
  hidden-dropout: 0.0
  micro-batch-size: 4
  save-interval: 150 # fork points and ends are saved anyway
  eval-interval: 300 # where the versions end, main for comparison
evaluate: {engine: megatron} # needs no export; `export`, the default, is the one for large models
launch: {device: cpu, local: {processes: 2}}
"""

STUDY: Mapping[str, tuple[int, float, float, float]] = {
    "lrps": (1740, 44.47, 44.39, 44.64),
    "ptfs": (3000, 47.15, 43.87, 43.95),
    "cpt": (1200, 48.54, 46.39, 47.01),
}
"""docs/results.md: iterations of four versions, and the fourth's perplexity by cosine, knee and multi-step."""
_WAYS = {"lrps": "LRPS, switch paths", "ptfs": "PTFS, retrain from scratch", "cpt": "CPT, continue the last version"}


def quickstart(
    folder: Annotated[Path, typer.Argument(help="The folder for the campaign.")] = Path("quickstart"),
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Train by PTFS and CPT too, for comparison; this takes longer.")
    ] = False,
) -> None:
    """Train, score and export four small versions on a CPU. The text is real, and so is Megatron."""
    began = time.monotonic()
    typer.echo(
        "The quick start trains four versions of a small language model on this machine's CPU, scores each and exports "
        f"the last.\nThat takes about {MINUTES[baselines]} minutes on two cores. Ctrl-C saves and stops; the same "
        "command goes on from there."
    )
    folder.mkdir(parents=True, exist_ok=True)
    _step(1, "Text of this machine becomes four windows of new data and one held-out set: some 15 s")
    prepare_quickstart(folder, vocab_size=VOCABULARY, progress=typer.echo, window_chars=WINDOW_CHARACTERS, mixed=True)
    plan_file = folder / "plan.yaml"
    campaign = _planned(plan_file, baselines=baselines)
    tree = campaign.tree
    total = sum(tree.iterations(paradigm) for paradigm in dict.fromkeys(path.paradigm for path in tree.paths))
    _step(2, f"Megatron trains {len(tree.paths)} paths, {total:,} iterations: `lrps run {plan_file}`")
    run(plan_file)
    versions = version_costs(campaign)
    _step(3, f"Each version is scored on the held-out text, some 10 s each: `lrps eval {plan_file} VERSION`")
    scores = _scored(campaign, plan_file, versions)
    last = next(row.path for row in versions.rows if row.version == versions.rows[-1].version)
    _step(4, f"The last version becomes a Hugging Face model, some 20 s: `lrps export {plan_file} {last} --check`")
    _export(plan_file, last)
    _step(5, "What came out")
    typer.echo(
        "ppl is the perplexity on the held-out text, the same for all versions, bpb bits per byte. Less is better.\n\n"
        f"{_versions_text(scores)}\n\n{_paradigms_text(versions, scores)}\n"
    )
    typer.echo("The campaign on one page, with its pictures:")
    report(plan_file)
    typer.echo("For TensorBoard:")
    tensorboard(plan_file)
    typer.echo(
        f"The plan, to change and rerun with `lrps run`: {plan_file}\n"
        "Next, from your own text to a released model: docs/first-campaign.md\n\n"
        f"Took {_minutes(time.monotonic() - began)}."
    )


def _step(number: int, what: str) -> None:
    typer.echo(f"\n[{number}/5] {what}")


def _planned(plan_file: Path, *, baselines: bool) -> Campaign:
    """The plan that is there, or the quick start's own; with ``baselines`` its paradigm becomes all three."""
    there = plan_file.read_text(encoding="utf-8") if plan_file.exists() else None
    text = PLAN if there is None else there
    if baselines:
        text = text.replace("\nparadigm: lrps", f"\nparadigm: [{', '.join(STUDY)}]", 1)
    if text != there:
        write_atomic(plan_file, text)
    campaign = Campaign.open(plan_file)
    if campaign.plan.launch.device != "cpu":
        raise RefusedError(
            f"{plan_file}: launch.device is {campaign.plan.launch.device!r}, but the quick start trains on a CPU.",
            f"use `lrps run {plan_file}`, or remove the file.",
        )
    if baselines and not STUDY.keys() <= set(campaign.plan.paradigm):
        raise RefusedError(
            f"{plan_file}: paradigm is {', '.join(campaign.plan.paradigm)}, and --baselines compares "
            f"{', '.join(STUDY)}.",
            f"write `paradigm: [{', '.join(STUDY)}]` there, or leave --baselines out.",
        )
    return campaign


def _scored(campaign: Campaign, plan_file: Path, versions: VersionCosts) -> ScoreTable:
    from megatron_lrps.evaluate.scoring import evaluate  # torch comes with it

    for row in versions.rows:
        source = find_version_checkpoint(plan_file, row.path, None)
        scored = evaluate(source, campaign.plan.evaluate, task_folder=None, export=None, say=lambda line: None)
        found = scores_of(scored.to_json()).items()
        shown = ", ".join(f"{name} {value:.4g}" for name, value in found if name.startswith("ppl/"))
        typer.echo(f"{row.path}: {shown}")
    read = ((row.path, read_results(campaign.folder, row.path)) for row in versions.rows)
    return score_table(versions, {path: results for path, results in read if results is not None})


def _export(plan_file: Path, path: str) -> None:
    """Export a version, check it and let it write; or say what is missing."""
    if importlib.util.find_spec("transformers") is None:
        typer.echo("Left out: transformers is not installed. pip install 'megatron-lrps[hf]', then the same command.")
        return
    export(plan_file, path, check=True)
    from megatron_lrps.evaluate.written_text import written

    texts = written(find_version_checkpoint(plan_file, path, None).export, PROMPTS, tokens=TOKENS_WRITTEN)
    for prompt, text in zip(PROMPTS, texts, strict=True):
        typer.echo(f"Given {prompt!r}, {path} writes (clumsily, it is so small):")
        for line in (prompt + text).splitlines():
            typer.echo(f"    | {line}".rstrip())


def _versions_text(scores: ScoreTable) -> str:
    headers = ("version", "path", "forks at", "ends at", "iterations so far", "of PTFS", *scores.names)
    rows = []
    for row in scores.rows:
        cells = (scores.cell(row, name) for name in scores.names)
        rows.append((row.version, row.path, row.fork, row.end, row.cost, f"{row.of_ptfs:.0%}", *cells))
    return table(headers, rows)


def _paradigms_text(versions: VersionCosts, scores: ScoreTable) -> str:
    """The last version's cost and perplexity by each paradigm: as trained here, else as the study found them."""
    last = {row.paradigm: row for row in versions.rows if row.version == versions.rows[-1].version}
    names: Sequence[str]
    if last.keys() >= STUDY.keys():
        above = f"What it is for: {versions.rows[-1].version} by three ways to train it, in this run:"
        below = (
            "One seed says little about a percent or two, and with so few iterations cosine is PTFS's worst schedule:\n"
            "docs/results.md has three seeds, and the others."
        )
        names = scores.names
        rows = [
            (_WAYS[name], row.cost, f"{row.of_ptfs:.0%}", *(scores.cell(row, each) for each in names))
            for name, row in ((name, last[name]) for name in STUDY)
        ]
    else:
        above = (
            "What it is for: the fourth version by three ways to train it. This is from docs/results.md, not from this "
            "run: a study of\nthis model and length, mean perplexities of three seeds. This run's schedule is cosine."
        )
        below = (
            "So LRPS comes within 2 % of retraining or below it, for 58 % of its iterations, and is below continuing.\n"
            "That page says what so small a model cannot tell. `lrps quickstart --baselines` trains all three ways."
        )
        names = ("ppl cosine", "ppl knee", "ppl multi-step")
        rows = [
            (_WAYS[name], cost, f"{cost / STUDY['ptfs'][0]:.0%}", *(f"{each:.2f}" for each in found))
            for name, (cost, *found) in STUDY.items()
        ]
    return f"{above}\n\n{table(('way', 'iterations of all versions', 'of PTFS', *names), rows)}\n\n{below}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} s"
