"""The paradigms of the paper (arXiv 2410.04103, section 3), as arithmetic on iterations.

Version i adds T iterations of new data, (start, end] of the timeline; with versions of one length, end = iT.

- lrps: main warms up, and then holds the maximal learning rate forever. Version i forks off main at
  fork = end - alpha T, and decays completely over (fork, end].
- ptfs: version i runs the whole schedule over (0, end], the data of versions 1..i mixed.
- cpt: version i goes on from the end of version i-1, and restarts the schedule at the maximum, over (start, end].
- cpt-rewarm: the same, but each version after the first warms up from the minimum to the maximum again.

Two kinds of versions are made without a decay of their own:

- A merge is a weighted mean of checkpoints of main, which trains on to the version's end. It trains nothing itself.
- ptfs-merged trains each version from scratch at the maximal rate, and the version is such a mean of its checkpoints.

A soup is the equal mean of several branches of one version that read their data in other orders.

Schedules are in samples: ``Batches`` says how many each iteration has.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from megatron_lrps.schedule.batches import Batches
from megatron_lrps.schedule.decay import DecaySpec, branch_decay, whole_decay
from megatron_lrps.schedule.merge import MeanPart, MergeSpec
from megatron_lrps.schedule.segments import Schedule, Segment

MAIN = "main"
"""The name of the main path."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch off main: a complete decay over the iterations (fork, end]."""

    name: str
    fork: int
    end: int
    decay: DecaySpec = field(default_factory=DecaySpec)


@dataclass(frozen=True, kw_only=True)
class VersionUpdate:
    """A version update: T = end - start iterations of new data, and the decay of the version's learning rate.

    Attributes:
        name: The version.
        start: The iteration after which its data begin.
        end: The iteration at which the data and the version end.
        alpha: The share of T that its branch decays over.
        decay: The shape of its decay.
        merge: The merge that makes the version instead of a branch, or None.
        soup: The number of branches whose mean is the version; 1 for a single branch, which is the version itself.
    """

    name: str
    start: int
    end: int
    alpha: float = 0.6
    decay: DecaySpec = field(default_factory=DecaySpec)
    merge: MergeSpec | None = None
    soup: int = 1

    @property
    def branch(self) -> Branch:
        """Its branch off main: fork = end - alpha T."""
        fork = self.end - branch_length(self.alpha, self.end - self.start)
        return Branch(name=self.name, fork=fork, end=self.end, decay=self.decay)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A path of a paradigm, trained over the iterations (fork, end].

    Attributes:
        name: The path.
        version: The version that its end gives, or None for main.
        parent: The path that it forks off, or None if it starts from scratch.
        fork: The iteration after which it starts.
        end: Its last iteration.
        schedule: Its learning rate over absolute samples, ancestors included.
        order: ``chained`` reads the versions' data one after another, ``mixed`` shuffles all of them, and ``blend``
            reads data of its own after ``fork``.
        mean: The checkpoints whose weighted mean the curve's end is, oldest first; empty if the curve is trained. A
            merge is not trained: its fork is its first checkpoint's iteration. A soup forks where its branches do.
        strand: The number of the branch among those of a soup, from 1; 0 for every other curve.
    """

    name: str
    version: str | None = None
    parent: str | None = None
    fork: int = 0
    end: int
    schedule: Schedule
    order: Literal["chained", "mixed", "blend"] = "chained"
    mean: tuple[MeanPart, ...] = ()
    strand: int = 0

    @property
    def iterations(self) -> int:
        """The iterations that this curve itself trains."""
        return 0 if self.mean else self.end - self.fork


class VersionError(ValueError):
    """The error for a version whose schedule is impossible.

    Args:
        version: The version's name.
        why: The reason.
    """

    def __init__(self, version: str, why: str) -> None:
        super().__init__(why)
        self.version = version


def branch_length(alpha: float, iterations: int) -> int:
    """Return alpha T in whole iterations, the decay length of the branch of a version of T iterations."""
    return int(alpha * iterations + 0.5)


def warmup(end: int) -> tuple[Segment, ...]:
    """Return a linear warm-up over the first ``end`` samples; nothing for 0."""
    return (Segment(kind="warmup", start=0, end=end),) if end else ()


def hold_for_ever(start: int) -> tuple[Segment, ...]:
    """Return an endless hold of the maximal learning rate from ``start`` (samples)."""
    return (Segment(kind="hold", start=start, end=None),)


def main_schedule(*, warm: int, batches: Batches) -> Schedule:
    """Return the main path's schedule: ``warm`` iterations of warm-up, then the maximal learning rate forever."""
    warmed = batches.samples(warm)
    return Schedule((*warmup(warmed), *hold_for_ever(warmed)))


def branch_schedule(main: Schedule, branch: Branch, *, batches: Batches) -> Schedule:
    """Return a branch's schedule: main until the fork, then a complete decay.

    Raises:
        ValueError: The fork lies inside the warm-up, or the branch is too short for its steps.
    """
    fork, end = batches.samples(branch.fork), batches.samples(branch.end)
    return main.followed_by(branch_decay(branch.decay, fork, end, batches=batches), fork)


def lrps(
    versions: Sequence[VersionUpdate], *, warm: int, batches: Batches, cuts: Sequence[Branch] = (), begins: int = 0
) -> Iterator[Curve]:
    """Learning-rate path switching: main to the last fork, then each version's branch.

    Args:
        versions: In the order of their data.
        warm: Iterations of the warm-up.
        batches: The samples in each iteration.
        cuts: Branches off main besides those of the versions.
        begins: The iteration after which main starts, if it continues from an earlier run.

    Raises:
        VersionError: A branch is too short for its steps.
    """
    main = main_schedule(warm=warm, batches=batches)
    forks = [*(version.branch.fork for version in versions if not version.merge), *(cut.fork for cut in cuts)]
    ends = [version.end for version in versions if version.merge]
    yield Curve(name=MAIN, fork=begins, end=max(forks + ends), schedule=main)
    for version in versions:
        if version.merge is not None:
            yield _mean(version.name, _merge(MAIN, version), parent=MAIN, schedule=main)
        else:
            yield from _branches(version.branch, main, soup=version.soup, batches=batches)
    for cut in cuts:
        yield from _branches(cut, main, soup=1, batches=batches)


def _branches(branch: Branch, main: Schedule, *, soup: int, batches: Batches) -> Iterator[Curve]:
    """Yield the curve of a branch, or those of a soup's branches and then the soup."""
    with _naming(branch.name):
        schedule = branch_schedule(main, branch, batches=batches)
    curve = Curve(
        name=branch.name, version=branch.name, parent=MAIN, fork=branch.fork, end=branch.end, schedule=schedule
    )
    if soup == 1:
        yield curve
        return
    strands = [
        replace(curve, name=f"{branch.name}-{number}", version=None, strand=number) for number in range(1, soup + 1)
    ]
    yield from strands
    parts = tuple(MeanPart(strand.name, branch.end, 1 / soup) for strand in strands)
    yield replace(curve, mean=parts)


def _merge(path: str, version: VersionUpdate) -> tuple[MeanPart, ...]:
    assert version.merge is not None
    with _naming(version.name):
        return version.merge.parts(path, version.end)


def _mean(version: str, parts: tuple[MeanPart, ...], *, parent: str, schedule: Schedule) -> Curve:
    return Curve(
        name=version,
        version=version,
        parent=parent,
        fork=parts[0].iteration,
        end=parts[-1].iteration,
        schedule=schedule,
        mean=parts,
    )


def ptfs(versions: Sequence[VersionUpdate], *, warm: int, batches: Batches) -> Iterator[Curve]:
    """Pretraining from scratch: each version runs the whole schedule over (0, end], all data so far mixed.

    Raises:
        VersionError: The warm-up or the steps of a version do not fit into it.
    """
    for version in versions:
        schedule = _from_scratch(version, warm=warm, batches=batches)
        yield Curve(
            name=f"ptfs-{version.name}", version=version.name, end=version.end, schedule=schedule, order="mixed"
        )


def ptfs_merged(versions: Sequence[VersionUpdate], *, warm: int, batches: Batches) -> Iterator[Curve]:
    """Pretraining from scratch at the maximal rate, all data so far mixed; a version is a mean of its checkpoints.

    Raises:
        VersionError: A version is too short for its merge.
    """
    held = main_schedule(warm=warm, batches=batches)
    for version in versions:
        path = Curve(name=f"ptfs-held-{version.name}", end=version.end, schedule=held, order="mixed")
        yield path
        parts = _merge(path.name, replace(version, merge=version.merge or MergeSpec()))
        merged = _mean(version.name, parts, parent=path.name, schedule=held)
        yield replace(merged, name=f"ptfs-merged-{version.name}", order="mixed")


def cpt(versions: Sequence[VersionUpdate], *, warm: int, batches: Batches, rewarm: bool = False) -> Iterator[Curve]:
    """Continual pretraining: each version goes on from the last one's end, its schedule restarted at the maximum.

    Args:
        versions: In the order of their data.
        warm: Iterations of the first version's warm-up, and with ``rewarm`` of every version's.
        batches: The samples in each iteration.
        rewarm: Warm up again, from the minimum to the maximum, before each restarted schedule.

    Raises:
        VersionError: The warm-up or the steps of a version do not fit into it.
    """
    paradigm, parent = "cpt-rewarm" if rewarm else "cpt", None
    schedule = _from_scratch(versions[0], warm=warm, batches=batches)
    for version in versions:
        if parent is not None:
            start, end = batches.samples(version.start), batches.samples(version.end)
            after = batches.samples(version.start + warm) if rewarm else start
            rise = (Segment(kind="rewarm", start=start, end=after),) if rewarm else ()
            with _naming(version.name):
                pieces = whole_decay(version.decay, start, end, after=after, batches=batches)
            schedule = schedule.followed_by((*rise, *pieces), start)
        name = f"{paradigm}-{version.name}"
        yield Curve(
            name=name, version=version.name, parent=parent, fork=version.start, end=version.end, schedule=schedule
        )
        parent = name


PARADIGMS: dict[str, Callable[..., Iterator[Curve]]] = {
    "lrps": lrps,
    "ptfs": ptfs,
    "ptfs-merged": ptfs_merged,
    "cpt": cpt,
    "cpt-rewarm": partial(cpt, rewarm=True),
}
"""Name, as in a plan's ``paradigm`` -> the function that yields its paths, parents before children."""


def _from_scratch(version: VersionUpdate, *, warm: int, batches: Batches) -> Schedule:
    with _naming(version.name):
        warmed = batches.samples(warm)
        pieces = whole_decay(version.decay, 0, batches.samples(version.end), after=warmed, batches=batches)
    return Schedule((*warmup(warmed), *pieces))


@contextmanager
def _naming(version: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise VersionError(version, str(error)) from None
