"""The windows of a plan's timeline: the iterations of each version's new data, and before them those of an adopted run
(``main: {adopt: DIR, iteration: N}``)."""

import re
from dataclasses import dataclass

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.keys.versions import Version
from megatron_lrps.plan.model import Plan
from megatron_lrps.schedule.batches import Batches

ADOPTED = "adopted"
"""The name of the adopted iterations in the timeline, in place of a version's name."""
_CHECKPOINT = re.compile(r"iter_\d+\Z")


@dataclass(frozen=True, kw_only=True)
class Window:
    """A version's window of new data: iterations (start, end] of the timeline.

    Attributes:
        version: The version that adds it.
        start: The iteration after which it begins.
        end: Its last iteration.
        adopted: Whether it stands for the iterations of an adopted run (``main.adopt``), whose data are unknown; it
            then belongs to no version.
    """

    version: Version
    start: int
    end: int
    adopted: bool = False

    @property
    def iterations(self) -> int:
        """Its length in iterations."""
        return self.end - self.start


def windows_of(plan: Plan) -> tuple[Window, ...]:
    """Return all windows, in the timeline's order; raises PlanError."""
    batches, windows = plan.batches, [*_adopted_window(plan)]
    for version in plan.versions:
        start = windows[-1].end if windows else 0
        windows.append(Window(version=version, start=start, end=_end_of(plan, batches, version, start)))
    return tuple(windows)


def _end_of(plan: Plan, batches: Batches, version: Version, start: int) -> int:
    """Return a version's last iteration. Tokens are rounded down to whole iterations, and samples must fit.

    Args:
        plan: The plan.
        batches: Its batches.
        version: A version of it.
        start: The iteration after which the version begins.

    Raises:
        PlanError: The samples do not end where an iteration does, or the tokens give no iteration.
    """
    key, sequence = f"versions.{version.name}", plan.sequence_length
    if version.iters is not None:
        return start + version.iters
    before = batches.samples(start)
    if version.samples is not None:
        end = batches.iteration(before + version.samples)
        below, above = (batches.between(start, each) for each in (end, end + 1))
        if below != version.samples:
            what = f"is not a multiple of global_batch_size {batches.last}"
            if batches.rises:
                what = f"does not end with an iteration (the batch is {batches.words})"
            fix = f"give {below} or {above}." if below else f"give {above}."
            raise PlanError(f"{key}.samples: {version.samples} {what}.", fix)
        return end
    tokens = version.tokens or 0
    end = batches.iteration(before + tokens // sequence)
    if end == start:
        raise PlanError(
            f"{key}.tokens: {tokens} is less than one iteration of {batches.batch_after(start) * sequence} tokens.",
            "give the version more tokens, or lower global_batch_size.",
        )
    return end


def _adopted_window(plan: Plan) -> tuple[Window, ...]:
    """Return the window (0, N] of an adopted run, which has no data; empty if no run is adopted.

    Raises:
        PlanError: the plan has keys that cannot be combined with an adopted run.
    """
    if plan.main is None:
        return ()
    _refuse_beside(plan)
    _refuse_folder(plan)
    iteration, warm = plan.main.iteration, plan.lr.warmup_iters
    if iteration < warm:
        raise PlanError(
            f"main.iteration: {iteration} is before the warm-up ends at iteration {warm}, where main's rate is not "
            "yet the maximum.",
            f"name a checkpoint from {warm} on, or give lr.warmup_iters as the run had it.",
        )
    for key, named in (("versions", plan.versions), ("cuts", plan.cuts)):
        if twin := next((each.name for each in named if each.name.lower() == ADOPTED), None):
            raise PlanError(f"{key}: the name {twin!r} belongs to the adopted iterations.", "rename the version.")
    return (Window(version=Version(name=ADOPTED, iters=iteration), start=0, end=iteration, adopted=True),)


def _refuse_beside(plan: Plan) -> None:
    """Refuse keys that need the data before the adopted iteration, or that define main themselves."""
    if plan.paths:
        raise PlanError(
            "main.adopt: it is given beside `paths`, and only the paradigm lrps has a main path to adopt.",
            "remove `main`.",
        )
    if others := [paradigm for paradigm in plan.paradigm if paradigm != "lrps"]:
        raise PlanError(
            f"main.adopt: it is given beside paradigm {', '.join(others)}, whose paths read all data from iteration 1 "
            "on, but what the adopted run has read is not known.",
            "keep `paradigm: lrps` alone, or train those in a campaign of their own.",
        )


def _refuse_folder(plan: Plan) -> None:
    """Refuse a folder that overlaps the campaign's own, and a checkpoint's folder in place of the run's."""
    assert plan.main is not None
    folder, save = plan.main.adopt, plan.folder
    run, campaign = folder.resolve(), save.resolve()
    if run.is_relative_to(campaign / "paths") or campaign.is_relative_to(run):
        raise PlanError(
            f"main.adopt: {folder} is where this campaign writes (`save` is {save}), and an adopted run is never "
            "written to.",
            "give the campaign a folder of its own beside the run's.",
        )
    if _CHECKPOINT.match(folder.name):
        raise PlanError(
            f"main.adopt: {folder} is named like one checkpoint.",
            f"name the folder that holds it, {folder.parent}, and main.iteration: {int(folder.name[5:])}.",
        )
