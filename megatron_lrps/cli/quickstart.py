"""``lrps quickstart``: a whole campaign on a small CPU machine, from real text to the version table."""

import time
from pathlib import Path

import typer

from megatron_lrps.cli.report import make_report
from megatron_lrps.cli.running import run_plan
from megatron_lrps.cli.tensorboard import derive_tensorboard
from megatron_lrps.data.quickstart import prepare_quickstart
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.table import as_csv, as_markdown, as_text, version_table
from megatron_lrps.plan import Tree, expand, load_plan
from megatron_lrps.versions.files import write_atomic
from megatron_lrps.versions.folder import CampaignFolder

VOCABULARY = 4096
WINDOW_CHARACTERS = 950_000

PLAN = """\
# The quick start's campaign: four versions, each with a window of other text. Edit and rerun, or copy it.
campaign: quickstart
save: campaign
paradigm: lrps
lr: {max: 3.0e-3, min: 3.0e-4, warmup_iters: 16}
decay: {shape: cosine, alpha: 0.6}
sequence_length: 128
global_batch_size: 16
versions:
  - {name: v1, iters: 120, train: [[1.0, data/v1/train]], valid: {docs: data/v1/valid}}
  - {name: v2, iters: 120, train: [[1.0, data/v2/train]], valid: {stdlib: data/v2/valid}}
  - {name: v3, iters: 120, train: [[1.0, data/v3/train]], valid: {tests: data/v3/valid}}
  - {name: v4, iters: 120, train: [[1.0, data/v4/train]], valid: {libraries: data/v4/valid}}
tokenizer: {type: sentencepiece, model: data/tokenizer.model}
megatron:
  num-layers: 4
  hidden-size: 128
  ffn-hidden-size: 384
  num-attention-heads: 4
  swiglu: true
  normalization: RMSNorm
  position-embedding-type: rope
  disable-bias-linear: true
  untie-embeddings-and-output-weights: true
  attention-dropout: 0.0
  hidden-dropout: 0.0
  tensor-model-parallel-size: 2
  micro-batch-size: 16
  save-interval: 60
  eval-interval: 130  # main's; every path is also evaluated at its end
launch: {device: cpu, local: {processes: 2}}
"""


def run_quickstart(folder: Path) -> None:
    """Prepare text, train, and show what came out; the same command continues or shows it again.

    Args:
        folder: Where data, plan and campaign go.

    Raises:
        LrpsError: of any step, with its own exit code.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    prepare_quickstart(folder, vocab_size=VOCABULARY, progress=typer.echo, window_chars=WINDOW_CHARACTERS)
    plan_file = folder / "plan.yaml"
    if not plan_file.exists():
        write_atomic(plan_file, PLAN)
    tree = expand(load_plan(plan_file))
    if tree.plan.launch.device != "cpu":
        raise RefusedError(
            f"{plan_file}: launch.device is {tree.plan.launch.device!r}, the quick start trains on a CPU.",
            f"use `lrps run {plan_file}`, or remove the file.",
        )
    prepared = time.monotonic()
    run_plan(plan_file, None)
    trained = time.monotonic()
    _show(tree, plan_file)
    typer.echo(
        f"\nTook {_minutes(time.monotonic() - began)}: text and tokenizer {_minutes(prepared - began)}, training "
        f"{_minutes(trained - prepared)}"
    )


def _show(tree: Tree, plan_file: Path) -> None:
    campaign = CampaignFolder(tree.plan.folder)
    versions = version_table(tree, campaign)
    typer.echo(f"\n{as_text(versions)}\n\nThe campaign on one page, with pictures and tables beside it:")
    make_report(plan_file, None, "iterations")
    write_atomic(campaign.report / "versions.md", as_markdown(versions) + "\n")
    write_atomic(campaign.report / "versions.csv", as_csv(versions))
    typer.echo("For TensorBoard:")
    derive_tensorboard(plan_file)
    typer.echo(f"The plan, to change and rerun with `lrps run`: {plan_file}")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
