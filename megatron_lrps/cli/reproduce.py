"""``lrps reproduce``: a study, trained run by run and seed by seed, and what it found."""

from collections.abc import Sequence
from pathlib import Path

import typer

from megatron_lrps.cli.running import run_plan
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.study import as_csv, as_json, as_markdown, as_text, lines_of
from megatron_lrps.monitor.table import version_table
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.plan.load import plan_text
from megatron_lrps.plan.study import Study, load_study, trials_of
from megatron_lrps.versions.files import write_atomic
from megatron_lrps.versions.folder import CampaignFolder


def reproduce(
    study_file: Path, *, only: Sequence[str], seeds: int | None, show: bool, plans: bool, as_json_: bool
) -> None:
    """Train what is missing of a study, one campaign after another, and show what it found.

    Args:
        study_file: The study.
        only: Runs to train; all where empty.
        seeds: The first so many of its seeds, or None for all.
        show: Train nothing: show what there is.
        plans: Train nothing: write the plans, to be trained elsewhere, and name them.
        as_json_: Print JSON instead.

    Raises:
        LrpsError: of any campaign, with its exit code; the same command goes on.
    """
    from megatron_lrps.monitor.study_pictures import draw_study  # matplotlib comes with it

    loaded = load_study(study_file)
    study, save = loaded.study, loaded.save
    if unknown := [name for name in only if name not in study.runs]:
        raise RefusedError(f"{unknown[0]} is no run of {study_file}.", f"name one of {', '.join(study.runs)}.")
    taken = study.seeds[:seeds]
    trials = [trial for trial in trials_of(loaded, taken) if not only or trial.run in only]
    for trial in trials:
        expand(trial.plan)  # refused before anything is trained
    if not show:
        save.mkdir(parents=True, exist_ok=True)
        _prepare(study, save)
    files = [save / "plans" / f"{trial.plan.campaign}.yaml" for trial in trials]
    if plans:
        for trial, file in zip(trials, files, strict=True):
            write_atomic(file, plan_text(trial.plan))
            typer.echo(file)
        return
    if not show:
        for number, (trial, file) in enumerate(zip(trials, files, strict=True), 1):
            typer.echo(f"[{number}/{len(trials)}] {trial.plan.campaign}", err=True)
            write_atomic(file, plan_text(trial.plan))
            run_plan(file, None)
    tables, trees = {}, {}
    for trial, file in zip(trials, files, strict=True):
        if file.exists():
            trees[trial.run] = tree = expand(load_plan(file))
            tables[trial.run, trial.seed] = version_table(tree, CampaignFolder(tree.plan.folder))
    lines = lines_of(tables)
    if not lines:
        raise RefusedError(f"{save} holds no trained version yet.", f"lrps reproduce {study_file}.")
    results = save / "results"
    pictures = draw_study(lines, trees, results)
    shown = [picture.relative_to(results) for picture in pictures]
    write_atomic(results / "results.md", as_markdown(lines, study.study, shown))
    write_atomic(results / "results.csv", as_csv(lines))
    write_atomic(results / "results.json", as_json(lines))
    typer.echo(as_json(lines) if as_json_ else f"{as_text(lines)}\n\n{results}")


def _prepare(study: Study, save: Path) -> None:
    if study.data is None:
        return
    from megatron_lrps.data.quickstart import prepare_quickstart

    prepare_quickstart(
        save,
        vocab_size=study.data.vocab_size,
        window_chars=study.data.window_characters,
        mixed=study.data.mixed,
        progress=lambda line: typer.echo(line, err=True),
    )
