"""``lrps reproduce``: a study, trained run by run and seed by seed, and what it found."""

import contextlib
import fcntl
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.run import run_plan
from megatron_lrps.errors import LrpsError, RefusedError, StorageError
from megatron_lrps.monitor.study_results import Line, as_csv, as_json, as_markdown, as_text, lines_of, not_finite
from megatron_lrps.monitor.version_costs import version_costs
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.plan.load import plan_text
from megatron_lrps.plan.study import Study, Trial, load_study, trials_of
from megatron_lrps.storage.files import write_atomic


def reproduce(
    study_file: Path,
    *,
    only: Sequence[str],
    seeds: int | None,
    seed: Sequence[int],
    show: bool,
    plans: bool,
    as_json_: bool,
) -> None:
    """Train what is missing of a study, one campaign after another, and show what it found.

    Args:
        study_file: The study.
        only: Runs to train and to show; all where empty. What is written is of all that is trained.
        seeds: The first so many of its seeds, or None for all.
        seed: These of its seeds instead; all where empty.
        show: Train nothing: show what there is.
        plans: Train nothing: write the plans, to be trained elsewhere, and name them.
        as_json_: Print JSON instead.

    Raises:
        LrpsError: of any campaign, with its exit code; the same command goes on.
    """
    loaded = load_study(study_file)
    study, save = loaded.study, loaded.save
    if unknown := [name for name in only if name not in study.runs]:
        raise RefusedError(f"{unknown[0]} is no run of {study_file}.", f"name one of {', '.join(study.runs)}.")
    taken = _seeds(study_file, study, seeds, seed)
    whole = trials_of(loaded, study.seeds)
    trials = [trial for trial in whole if trial.seed in taken and (not only or trial.run in only)]
    for trial in trials:
        expand(trial.plan)  # refused before anything is trained
    if not show:
        save.mkdir(parents=True, exist_ok=True)
        _prepare(study, save)
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
            run_plan(file, None)
    wanted = {(trial.run, trial.seed) for trial in trials}
    lines, notes = _results(study, save, whole, wanted)
    if not lines:
        said = f"{'; '.join(notes)}." if notes else f"{save} holds no trained version yet."
        raise RefusedError(said, f"lrps reproduce {study_file}.")
    typer.echo(as_json(lines) if as_json_ else f"{as_text(lines, notes)}\n\n{save / 'results'}")


def _seeds(study_file: Path, study: Study, count: int | None, chosen: Sequence[int]) -> Sequence[int]:
    if count is not None and chosen:
        raise RefusedError(f"--seeds {count} and --seed {chosen[0]} both choose the seeds.", "give one of them.")
    if unknown := [seed for seed in chosen if seed not in study.seeds]:
        known = ", ".join(map(str, study.seeds))
        raise RefusedError(f"{unknown[0]} is no seed of {study_file}.", f"name one of {known}, or add it to its seeds.")
    return chosen or study.seeds[:count]


def _plan_file(save: Path, trial: Trial) -> Path:
    return save / "plans" / f"{trial.plan.campaign}.yaml"


def _results(
    study: Study, save: Path, trials: Sequence[Trial], wanted: Container[tuple[str, int]]
) -> tuple[list[Line], list[str]]:
    """What the ``wanted`` (run, seed) found, and notes on it.

    Written is what all of ``trials`` found: a part would replace the whole.

    Raises:
        LrpsError: of a plan that is wanted; another that cannot be read is named, and left out.
    """
    from megatron_lrps.monitor.pictures.study_pictures import draw_study  # matplotlib comes with it

    tables, trees = {}, {}
    # Of two that end at a time the later one has read what both have trained.
    with alone(save / ".results.lock", say=_say):
        for trial in trials:
            if not (file := _plan_file(save, trial)).exists():
                continue
            try:
                tree = expand(load_plan(file))
                tables[trial.run, trial.seed] = version_costs(Campaign(tree))
                trees[trial.run] = tree
            except LrpsError as error:
                if (trial.run, trial.seed) in wanted:
                    raise
                _say(f"{trial.plan.campaign} is left out: {error}")
        lines = lines_of(tables)
        if lines:
            results = save / "results"
            pictures = draw_study(lines, trees, results)
            shown = [picture.relative_to(results) for picture in pictures]
            write_atomic(results / "results.md", as_markdown(lines, study.study, shown, notes=not_finite(tables)))
            write_atomic(results / "results.csv", as_csv(lines))
            write_atomic(results / "results.json", as_json(lines))
    asked = {key: found for key, found in tables.items() if key in wanted}
    return lines_of(asked), not_finite(asked)


def _prepare(study: Study, save: Path) -> None:
    if study.data is None:
        return
    from megatron_lrps.data.quickstart.windows import prepare_quickstart

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
