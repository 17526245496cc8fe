"""Fork or resume: which checkpoint a path starts from. Once it has forked, its own checkpoints come first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.manifest import Damage
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan import PlannedPath
from megatron_lrps.plan.flags import PRETRAINED


@dataclass(frozen=True, kw_only=True)
class StartPoint:
    """The checkpoint that a run of a path starts from; decided before the run, and fixed for its duration.

    Attributes:
        checkpoint: The checkpoint that it loads; None if it starts from scratch.
        forked: Whether the checkpoint is the parent's or an adopted run's, not its own.
        skipped: Own checkpoint -> why it is not used; these are left alone.
    """

    checkpoint: Checkpoint | None
    forked: bool
    skipped: Mapping[int, str] = field(default_factory=dict)

    @property
    def iteration(self) -> int:
        """The iteration that it starts after; 0 from scratch."""
        return self.checkpoint.iteration if self.checkpoint else 0

    @property
    def name(self) -> str:
        """The checkpoint's name in messages."""
        return str(self.checkpoint) if self.checkpoint else "scratch"


def find_start(
    own: Path,
    *,
    parent: Path | None,
    fork: int,
    end: int,
    damaged: Mapping[int, str] | None = None,
    adopted: bool = False,
) -> StartPoint:
    """Return the path's newest whole checkpoint, else its fork point, else scratch.

    A checkpoint is whole if it was finished and has the files that its manifest lists, in their sizes.

    Args:
        own: The path's ``--save`` folder.
        parent: The parent's checkpoints, or None for a path without a parent.
        fork: The fork iteration.
        end: The path's last iteration.
        damaged: Own checkpoint -> the damage to its content, if it has been read.
        adopted: Whether ``parent`` is the run that main continues from, and no path of the campaign.

    Raises:
        RefusedError: the folder holds another path's checkpoints, or the fork point is missing; names those that
            exist.
    """
    saved = Checkpoints.in_folder(own)
    complete = saved.complete
    # Main may have passed its end if a changed plan ends it earlier; a branch past its end is a different path's.
    passed = (parent is None or adopted) and bool(complete) and complete[-1] > end
    if passed and end not in complete:
        raise RefusedError(
            f"{own} has passed iteration {end}, where the path ends, and holds no checkpoint of it; there are "
            f"{_listed(complete)}.",
            "end or fork at one of those.",
        )
    foreign = [iteration for iteration in complete if iteration <= fork or (iteration > end and not passed)]
    if foreign:
        raise RefusedError(
            f"{saved.at(foreign[-1])} lies outside of this path, which trains ({fork}, {end}].",
            "give the path a --save folder of its own, or move those of another path away.",
        )
    skipped = dict.fromkeys(saved.torn, "its save was cut off") | dict(damaged or {})
    for iteration in reversed(complete):
        if iteration not in skipped and (sizes := saved.at(iteration).damages()):
            skipped[iteration] = str(sizes[0])
        if iteration not in skipped:
            return StartPoint(checkpoint=saved.at(iteration), forked=False, skipped=skipped)
    if parent is None:
        return StartPoint(checkpoint=None, forked=False, skipped=skipped)
    forks = Checkpoints.in_folder(parent)
    at = forks.at(fork)
    if fork in forks.complete:
        if sizes := at.damages():
            refuse_damaged_fork(at, sizes[0], adopted=adopted)
        return StartPoint(checkpoint=at, forked=True, skipped=skipped)
    if adopted:
        _refuse_adopted(forks, fork)
    if fork in forks.torn and at.is_legacy:
        raise RefusedError(
            f"The fork point {at} is in Megatron's format torch; a path forks off torch_dist.",
            "convert it: with --ckpt-convert-format torch_dist --ckpt-convert-save DIR Megatron saves it anew.",
        )
    if fork in forks.torn:
        raise RefusedError(
            f"The fork point {at} is not whole: its save was cut off.",
            "train the parent path on from its checkpoint before, so that it saves the fork point again.",
        )
    later = (forks.newest or 0) > fork
    raise RefusedError(
        f"The fork point at iteration {fork} is not in {parent}; there are {_listed(forks.complete)}.",
        f"{'fork at one of those' if later else 'train the parent path up to it first'}.",
    )


def _refuse_adopted(run: Checkpoints, iteration: int) -> NoReturn:
    """Refuse to adopt a run at an iteration whose checkpoint is missing or not whole."""
    at, torn, there = run.at(iteration), iteration in run.torn, run.complete
    if not run.save.is_dir():
        raise RefusedError(f"main.adopt: {run.save} is no folder.", "name the --save folder of the run, or mount it.")
    if torn and at.is_legacy:
        raise RefusedError(
            f"main.adopt: {at} is in Megatron's format torch; a path goes on from torch_dist.",
            "convert it: with --ckpt-convert-format torch_dist --ckpt-convert-save DIR Megatron saves it anew.",
        )
    what = "is not whole: its save was cut off" if torn else "is not there"
    raise RefusedError(
        f"main.iteration: {at} {what}; whole checkpoints in {run.save}: {_listed(there)}.",
        "name one of those." if there else "name the --save folder of the run.",
    )


def refuse_damaged_fork(checkpoint: Checkpoint, damage: Damage, *, adopted: bool = False) -> NoReturn:
    """Refuse a branch whose fork point is damaged: no other checkpoint can replace it."""
    if adopted:
        raise RefusedError(
            f"main.adopt: {checkpoint} is damaged: {damage}.", "restore it from a copy, or name another main.iteration."
        )
    raise RefusedError(
        f"The fork point {checkpoint} is damaged: {damage}.",
        "restore it from a copy; or move it and the parent's later checkpoints away, and train the parent again.",
    )


def refuse_unfit_parts(campaign: Campaign, path: PlannedPath) -> None:
    """Refuse a mean if a checkpoint that it is made of is missing or damaged; raises RefusedError."""
    for part in campaign.folder.parts_of(path):
        source = part.save.parent.name
        if not part.is_complete:
            there = Checkpoints.in_folder(part.save)
            passed = (there.newest or 0) > part.iteration
            raise RefusedError(
                f"{path.name} is made of iteration {part.iteration} of {source}, and {part.save} holds no whole "
                f"checkpoint of it; there are {_listed(there.complete)}.",
                f"{source} has passed it: merge others (versions.{path.version}.merge), or make the version a branch."
                if passed
                else f"train {source} up to it first.",
            )
        if damages := part.damages():
            raise RefusedError(
                f"{path.name} is made of {part}, which is damaged: {damages[0]}.",
                f"restore it from a copy, or merge others (versions.{path.version}.merge).",
            )


def refuse_missing_weights(campaign: Campaign, path: PlannedPath) -> None:
    """Refuse a missing ``megatron.pretrained-checkpoint`` if the path still starts from it; raises PlanError."""
    weights = campaign.plan.megatron.get(PRETRAINED)
    if weights is None or path.parent is not None or standing_of(campaign, path).saved:
        return
    folder = Path(str(weights))
    if not folder.is_dir():
        raise PlanError(
            f"megatron.{PRETRAINED}: {folder} is no folder.", "name a folder of checkpoints, or make it by lrps import."
        )


def _listed(iterations: Sequence[int]) -> str:
    return ", ".join(map(str, iterations[-8:])) or "none"
