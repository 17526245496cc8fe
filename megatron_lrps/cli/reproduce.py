"""``lrps reproduce``: a study, trained run by run and seed by seed, and what it found."""

import contextlib
import fcntl
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import JsonOption
from megatron_lrps.cli.run import run as train
from megatron_lrps.errors import LrpsError, RefusedError, StorageError
from megatron_lrps.monitor.study_results import Line, as_csv, as_markdown, as_text, lines_of, not_finite
from megatron_lrps.monitor.study_results import as_json as results_json
from megatron_lrps.monitor.version_costs import version_costs
from megatron_lrps.plan import expand
from megatron_lrps.plan.load import plan_text
from megatron_lrps.plan.study import LoadedStudy, Study, Trial, load_study, trials_of
from megatron_lrps.storage.files import write_atomic


def reproduce(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.", show_default=False)],
    run: Annotated[
        list[str] | None, typer.Option("--run", help="Take only this run of the study; give it again for more.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Take only this many of the study's seeds, from the first.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="Take only this seed of the study; give it again for more.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Train nothing, and show the results so far.")] = False,
    plans: Annotated[
        bool, typer.Option("--plans", help="Train nothing, and write the plans for lrps submit or another launcher.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a study, and show its results. It trains run by run and seed by seed. Run it again to continue."""
    loaded = load_study(study)
    trials = _asked_trials(study, loaded, only=run or [], seeds=seeds, seed=seed or [])
    save = loaded.save
    for trial in trials:
        expand(trial.plan)  # refused before anything is trained
    if not show:
        save.mkdir(parents=True, exist_ok=True)
        _prepare(loaded.study, save)
    if plans:
        for trial in trials:
            file = _plan_file(save, trial)
            write_atomic(file, plan_text(trial.plan))
            typer.echo(file)
        return
    if not show:
        for number, trial in enumerate(trials, 1):
            typer.echo(f"[{number}/{len(trials)}] {trial.plan.campaign}", err=True)
            file = _plan_file(save, trial)
            write_atomic(file, plan_text(trial.plan))
            train(file)
    lines, notes = _results(loaded, {(trial.run, trial.seed) for trial in trials})
    if not lines:
        said = f"{'; '.join(notes)}." if notes else f"{save} holds no trained version yet."
        raise RefusedError(said, f"train it: lrps reproduce {study}.")
    typer.echo(results_json(lines) if as_json else f"{as_text(lines, notes)}\n\n{save / 'results'}")


def _asked_trials(
    file: Path, loaded: LoadedStudy, *, only: Sequence[str], seeds: int | None, seed: Sequence[int]
) -> list[Trial]:
    """The study's trials of the given runs and seeds, all if none is given; raises RefusedError."""
    study = loaded.study
    if unknown := [name for name in only if name not in study.runs]:
        raise RefusedError(f"{unknown[0]} is not a run of {file}.", f"name one of {', '.join(study.runs)}.")
    taken = _seeds(file, study, seeds, seed)
    return [each for each in trials_of(loaded, study.seeds) if each.seed in taken and (not only or each.run in only)]


def _seeds(study_file: Path, study: Study, count: int | None, chosen: Sequence[int]) -> Sequence[int]:
    if count is not None and chosen:
        raise RefusedError(f"--seeds {count} and --seed {chosen[0]} both choose the seeds.", "give one of them.")
    if unknown := [seed for seed in chosen if seed not in study.seeds]:
        known = ", ".join(map(str, study.seeds))
        raise RefusedError(
            f"{unknown[0]} is not a seed of {study_file}.", f"name one of {known}, or add it to its seeds."
        )
    return chosen or study.seeds[:count]


def _plan_file(save: Path, trial: Trial) -> Path:
    return save / "plans" / f"{trial.plan.campaign}.yaml"


def _results(loaded: LoadedStudy, wanted: Container[tuple[str, int]]) -> tuple[list[Line], list[str]]:
    """What the ``wanted`` (run, seed) found, and notes on it.

    The files hold what all of the study's trials found: a part would replace the whole.

    Raises:
        LrpsError: of a plan that is wanted; another that cannot be read is named, and left out.
    """
    from megatron_lrps.monitor.pictures.study_pictures import draw_study  # matplotlib comes with it

    study, save = loaded.study, loaded.save
    tables, trees = {}, {}
    # Of two that end at a time the later one has read what both have trained.
    with alone(save / ".results.lock", say=_say):
        for trial in trials_of(loaded, study.seeds):
            if not (file := _plan_file(save, trial)).exists():
                continue
            try:
                campaign = Campaign.open(file)
                tables[trial.run, trial.seed] = version_costs(campaign)
                trees[trial.run] = campaign.tree
            except LrpsError as error:
                if (trial.run, trial.seed) in wanted:
                    raise
                _say(f"{trial.plan.campaign} is left out: {error}")
        lines = lines_of(tables, study.baselines)
        if lines:
            results = save / "results"
            pictures = draw_study(lines, trees, results)
            shown = [picture.relative_to(results) for picture in pictures]
            write_atomic(results / "results.md", as_markdown(lines, study.study, shown, notes=not_finite(tables)))
            write_atomic(results / "results.csv", as_csv(lines))
            write_atomic(results / "results.json", results_json(lines))
    asked = {key: found for key, found in tables.items() if key in wanted}
    seeds, runs = {seed for _, seed in asked}, {run for run, _ in asked}
    needed = {study.baselines[run] for run in runs if run in study.baselines}
    beside = {(run, seed): found for (run, seed), found in tables.items() if run in needed and seed in seeds}
    return [line for line in lines_of(beside | asked, study.baselines) if line.run in runs], not_finite(asked)


def _prepare(study: Study, save: Path) -> None:
    if study.data is None:
        return
    from megatron_lrps.data.quickstart.corpus import prepare_quickstart

    with alone(save / ".data.lock", say=_say):
        prepare_quickstart(
            save,
            vocab_size=study.data.vocab_size,
            window_chars=study.data.window_characters,
            mixed=study.data.mixed,
            progress=_say,
        )


@contextlib.contextmanager
def alone(lock: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock file of this machine; where another process has it, say so and wait.

    Raises:
        StorageError: where it cannot be made.
    """
    try:
        stream = lock.open("a")
    except FileNotFoundError:  # nothing is there that two could write
        yield
        return
    except OSError as error:
        raise StorageError(f"{lock} could not be written: {error.strerror}.", "make it writable, then rerun.") from None
    with stream:
        # The kernel frees it when this process ends, however that happens. A file system without locks has none.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another lrps reproduce is at work in {lock.parent}: waiting for it ({lock.name})")
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    typer.echo(line, err=True)
