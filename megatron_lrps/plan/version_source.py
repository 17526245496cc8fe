"""What a version is made of, and what must be trained for it.

Every version is the end of a path: of its branch, or of its PTFS or CPT path. Another kind, such as a weighted merge of
main-path checkpoints, is one more class with what ``VersionSource`` asks for, and one more line in ``sources_of``:
tables, costs, gates, jobs and the names that commands take go by these alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from megatron_lrps.plan.paths import Tree


class TrainedTo(NamedTuple):
    """A checkpoint that training gives: the path, and the iteration."""

    path: str
    iteration: int


class VersionSource(Protocol):
    """One way in which the plan makes a version; several paradigms may each have one."""

    @property
    def version(self) -> str:
        """The version."""

    @property
    def paradigm(self) -> str:
        """The paradigm that it is compared within."""

    @property
    def path(self) -> str:
        """The path whose folder and record hold the version's checkpoint, at the path's end."""

    @property
    def made_of(self) -> tuple[TrainedTo, ...]:
        """The checkpoints that must be trained for it."""


@dataclass(frozen=True)
class BranchEnd:
    """A version that is the last checkpoint of one path: ``made_of`` is that checkpoint alone."""

    version: str
    paradigm: str
    path: str
    made_of: tuple[TrainedTo, ...]


def sources_of(tree: Tree) -> tuple[VersionSource, ...]:
    """All the ways in which a plan makes versions, oldest version first."""
    order = [version for version, _ in tree.version_ends]
    ends = [
        BranchEnd(path.version, path.paradigm, path.name, (TrainedTo(path.name, path.end),))
        for path in tree.paths
        if path.version is not None
    ]
    return tuple(sorted(ends, key=lambda source: order.index(source.version)))


def iterations_for(tree: Tree, sources: Iterable[VersionSource]) -> int:
    """Iterations to train for these versions: of the paths that they are made of, and of their ancestors to the forks.

    What several of them share is counted once.
    """
    reach: dict[str, int] = {}
    for source in sources:
        for name, until in source.made_of:
            while True:
                reach[name] = max(until, reach.get(name, 0))
                path = tree.path(name)
                if path.parent is None:
                    break
                name, until = path.parent, path.fork
    return sum(until - tree.path(name).fork for name, until in reach.items())
