"""Fork or resume: which checkpoint a path starts from. Its own folder comes first, ever after the fork."""

from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.errors import RefusedError
from megatron_lrps.versions.folder import checkpoint, checkpoints_in


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a path starts.

    Attributes:
        folder: The ``--load`` folder, or None: from scratch.
        iteration: The checkpoint's iteration in it, 0 from scratch.
        forked: It is the parent's checkpoint, not an own one.
        torn: Own checkpoints that are not whole, newest last; they are left alone and not used.
    """

    folder: Path | None
    iteration: int
    forked: bool
    torn: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The checkpoint, for messages."""
        return str(checkpoint(self.folder, self.iteration)) if self.folder else "scratch"


def find_start(own: Path, *, parent: Path | None, fork: int, end: int) -> Start:
    """The newest complete checkpoint of the path's own, else its fork point, else scratch.

    Args:
        own: The path's ``--save`` folder.
        parent: The parent's checkpoints, or None for a path without a parent.
        fork: The fork iteration.
        end: The path's last iteration.

    Raises:
        RefusedError: where the folder holds another path's checkpoints, or the fork point is missing, naming
            those that exist.
    """
    complete, torn = checkpoints_in(own)
    # A main path that a changed plan ends earlier may have passed its end; a branch past its own is another's.
    passed = parent is None and bool(complete) and complete[-1] > end
    if passed and end not in complete:
        raise RefusedError(
            f"{own} has passed iteration {end}, where the path ends, and holds no checkpoint of it; there are "
            f"{_listed(complete)}.",
            "end or fork at one of those.",
        )
    foreign = [iteration for iteration in complete if not passed and not fork < iteration <= end]
    if foreign:
        raise RefusedError(
            f"{checkpoint(own, foreign[-1])} lies outside of this path, which trains ({fork}, {end}].",
            "give the path a --save folder of its own, or move those of another path away.",
        )
    if complete:
        return Start(folder=own, iteration=complete[-1], forked=False, torn=tuple(torn))
    if parent is None:
        return Start(folder=None, iteration=0, forked=False, torn=tuple(torn))
    forks, torn_forks = checkpoints_in(parent)
    if fork in forks:
        return Start(folder=parent, iteration=fork, forked=True, torn=tuple(torn))
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


def _listed(iterations: list[int]) -> str:
    return ", ".join(map(str, iterations[-8:])) or "none"
