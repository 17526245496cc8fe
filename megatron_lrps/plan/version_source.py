"""Sources of versions: the checkpoints that make a version, and must be trained for it.

A version is the end of a path, of its branch or of its PTFS or CPT path; or it is a weighted mean of checkpoints, of
main or of several branches. A new kind is one more class that implements ``VersionSource``, and one more line in
``sources_of``. Tables, costs, gates, jobs and the names in commands use only these.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from megatron_lrps.plan.paths import PlannedPath, Tree


class TrainedTo(NamedTuple):
    """A trained checkpoint: the path and the iteration."""

    path: str
    iteration: int


class VersionSource(Protocol):
    """One way in which the plan makes a version; each paradigm may have one."""

    @property
    def version(self) -> str:
        """The version."""

    @property
    def paradigm(self) -> str:
        """The paradigm within which it is compared."""

    @property
    def path(self) -> str:
        """The path whose folder and record hold the version's checkpoint, at the path's end."""

    @property
    def made_of(self) -> tuple[TrainedTo, ...]:
        """The checkpoints that must be trained for it."""


@dataclass(frozen=True)
class OfCheckpoints:
    """A version that is the last checkpoint of its path, or a weighted mean of others: those in ``made_of``."""

    version: str
    paradigm: str
    path: str
    made_of: tuple[TrainedTo, ...]


def _source_of(version: str, path: PlannedPath) -> VersionSource:
    parts = [(part.path, part.iteration) for part in path.mean] or [(path.name, path.end)]
    return OfCheckpoints(version, path.paradigm, path.name, tuple(TrainedTo(*part) for part in parts))


def sources_of(tree: Tree) -> tuple[VersionSource, ...]:
    """Return the sources of all versions of a plan, oldest version first."""
    order = [version for version, _ in tree.version_ends]
    found = [_source_of(path.version, path) for path in tree.paths if path.version is not None]
    return tuple(sorted(found, key=lambda source: order.index(source.version)))


def iterations_for(tree: Tree, sources: Iterable[VersionSource]) -> int:
    """Return the iterations to train for these versions: those of their paths, and of ancestors up to the forks.

    Shared iterations count once.
    """
    return sum(until - start for start, until in _stretches_for(tree, sources))


def samples_for(tree: Tree, sources: Iterable[VersionSource]) -> int:
    """Return the samples of the iterations that ``iterations_for`` counts."""
    return sum(tree.batches.between(start, until) for start, until in _stretches_for(tree, sources))


def _stretches_for(tree: Tree, sources: Iterable[VersionSource]) -> list[tuple[int, int]]:
    reach: dict[str, int] = {}
    for source in sources:
        for name, until in source.made_of:
            while True:
                reach[name] = max(until, reach.get(name, 0))
                path = tree.path(name)
                if path.parent is None:
                    break
                name, until = path.parent, path.fork
    return [(tree.path(name).fork, until) for name, until in reach.items()]
