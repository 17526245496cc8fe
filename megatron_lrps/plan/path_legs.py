"""Legs of a campaign, each trained by one job: a path's iterations from one fork point to the next."""

from dataclasses import dataclass

from megatron_lrps.plan.paths import PlannedPath, Tree


@dataclass(frozen=True, kw_only=True)
class Leg:
    """The iterations (start, until] of a path, which one job trains.

    Attributes:
        path: The path.
        start: The end of the previous leg, or the fork of the path. A mean of checkpoints is one leg, which trains
            nothing: its job merges them.
        until: A fork point on the path, or the end of the path.
    """

    path: PlannedPath
    start: int
    until: int

    @property
    def key(self) -> tuple[str, int]:
        """The path's name, and ``until``."""
        return self.path.name, self.until

    @property
    def before(self) -> tuple[tuple[str, int], ...]:
        """The legs that must be trained first; none for the first leg of a path from scratch."""
        if self.start > self.path.fork and not self.path.mean:
            return ((self.path.name, self.start),)
        return self.path.begins_after


def legs_of(tree: Tree) -> list[Leg]:
    """Return all legs of a campaign, each after the one that it follows.

    A branch thus starts as soon as its fork point exists, and a mean of checkpoints as soon as the last of them does,
    while main trains on.
    """
    legs = []
    for path in tree.paths:
        start = path.end if path.mean else path.fork
        for until in sorted({*tree.fork_points(path.name), path.end}):
            legs.append(Leg(path=path, start=start, until=until))
            start = until
    return legs
