"""Fork or resume: which checkpoint a path starts from. Its own folder comes first, ever after the fork."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from megatron_lrps.campaign.folders import checkpoint, checkpoints_in, is_legacy
from megatron_lrps.campaign.manifest import Damage, damaged_sizes
from megatron_lrps.errors import RefusedError


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a path starts.

    Attributes:
        folder: The ``--load`` folder, or None: from scratch.
        iteration: The checkpoint's iteration in it, 0 from scratch.
        forked: It is the parent's checkpoint, or an adopted run's, not an own one.
        skipped: Own checkpoint -> why it is not used; those are left alone.
    """

    folder: Path | None
    iteration: int
    forked: bool
    skipped: Mapping[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The checkpoint, for messages."""
        return str(checkpoint(self.folder, self.iteration)) if self.folder else "scratch"


def find_start(
    own: Path,
    *,
    parent: Path | None,
    fork: int,
    end: int,
    damaged: Mapping[int, str] | None = None,
    adopted: bool = False,
) -> Start:
    """The newest whole checkpoint of the path's own, else its fork point, else scratch.

    Whole is what was finished and has the files that its manifest lists, in their sizes.

    Args:
        own: The path's ``--save`` folder.
        parent: The parent's checkpoints, or None for a path without a parent.
        fork: The fork iteration.
        end: The path's last iteration.
        damaged: Own checkpoint -> what is wrong with its content, where somebody has read it.
        adopted: ``parent`` is no path of the campaign, but the run that its main path goes on from.

    Raises:
        RefusedError: where the folder holds another path's checkpoints, or the fork point is missing, naming
            those that exist.
    """
    complete, torn = checkpoints_in(own)
    # A main path that a changed plan ends earlier may have passed its end; a branch past its own is another's.
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
            f"{checkpoint(own, foreign[-1])} lies outside of this path, which trains ({fork}, {end}].",
            "give the path a --save folder of its own, or move those of another path away.",
        )
    skipped = dict.fromkeys(torn, "its save was cut off") | dict(damaged or {})
    for iteration in reversed(complete):
        if iteration not in skipped and (sizes := damaged_sizes(checkpoint(own, iteration))):
            skipped[iteration] = str(sizes[0])
        if iteration not in skipped:
            return Start(folder=own, iteration=iteration, forked=False, skipped=skipped)
    if parent is None:
        return Start(folder=None, iteration=0, forked=False, skipped=skipped)
    forks, torn_forks = checkpoints_in(parent)
    if fork in forks:
        if sizes := damaged_sizes(checkpoint(parent, fork)):
            refuse_damaged_fork(checkpoint(parent, fork), sizes[0], adopted=adopted)
        return Start(folder=parent, iteration=fork, forked=True, skipped=skipped)
    if adopted:
        _refuse_adopted(parent, fork, forks, torn=fork in torn_forks)
    if fork in torn_forks and is_legacy(checkpoint(parent, fork)):
        raise RefusedError(
            f"The fork point {checkpoint(parent, fork)} is in Megatron's format torch; a path forks off torch_dist.",
            "convert it: with --ckpt-convert-format torch_dist --ckpt-convert-save DIR Megatron saves it anew.",
        )
    if fork in torn_forks:
        raise RefusedError(
            f"The fork point {checkpoint(parent, fork)} is not whole: its save was cut off.",
            "train the parent path on from its checkpoint before, so that it saves the fork point again.",
        )
    later = bool(forks) and forks[-1] > fork
    raise RefusedError(
        f"The fork point at iteration {fork} is not in {parent}; there are {_listed(forks)}.",
        f"{'fork at one of those' if later else 'train the parent path up to it first'}.",
    )


def _refuse_adopted(folder: Path, iteration: int, there: list[int], *, torn: bool) -> NoReturn:
    """Refuse a run that cannot be adopted at an iteration, as that checkpoint of it is not there or not whole."""
    at = checkpoint(folder, iteration)
    if not folder.is_dir():
        raise RefusedError(f"main.adopt: {folder} is no folder.", "name the --save folder of the run, or mount it.")
    if torn and is_legacy(at):
        raise RefusedError(
            f"main.adopt: {at} is in Megatron's format torch; a path goes on from torch_dist.",
            "convert it: with --ckpt-convert-format torch_dist --ckpt-convert-save DIR Megatron saves it anew.",
        )
    what = "is not whole: its save was cut off" if torn else "is not there"
    raise RefusedError(
        f"main.iteration: {at} {what}; whole checkpoints in {folder}: {_listed(there)}.",
        "name one of those." if there else "name the --save folder of the run.",
    )


def refuse_damaged_fork(folder: Path, damage: Damage, *, adopted: bool = False) -> NoReturn:
    """Refuse a branch whose fork point is there and not as it was saved: no other checkpoint can stand in for it."""
    if adopted:
        raise RefusedError(
            f"main.adopt: {folder} is damaged: {damage}.", "restore it from a copy, or name another main.iteration."
        )
    raise RefusedError(
        f"The fork point {folder} is damaged: {damage}.",
        "restore it from a copy; or move it and the parent's later checkpoints away, and train the parent again.",
    )


def _listed(iterations: list[int]) -> str:
    return ", ".join(map(str, iterations[-8:])) or "none"
