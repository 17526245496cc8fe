"""Planned paths and their tree, to which a plan expands."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.version_windows import Window
from megatron_lrps.schedule.batches import Batches
from megatron_lrps.schedule.merge import MeanPart
from megatron_lrps.schedule.paradigms import MAIN, Curve

__all__ = ["MAIN", "PathKind", "PlannedPath", "Tree", "adopted_words"]

PathKind = Literal["main", "branch", "merge", "soup", "baseline", "explicit"]


@dataclass(frozen=True, kw_only=True)
class PlannedPath(Curve):
    """One learning-rate curve to train, with a unique name in the campaign.

    Attributes:
        kind: ``main``, ``branch``, ``baseline`` (a path of ptfs or cpt) or ``explicit`` (from ``paths:``); or ``merge``
            or ``soup``, which are means of checkpoints that no process trains.
        paradigm: ``lrps``, ``ptfs``, ``ptfs-merged``, ``cpt``, ``cpt-rewarm`` or ``explicit``.
        adopted: For main only, the ``--save`` folder of the run that it continues from at ``fork``. That run is no path
            of the campaign.
        blend: For the order ``blend``, the (weight, index prefix) pairs that it draws its samples from.
    """

    kind: PathKind
    paradigm: str
    adopted: Path | None = None
    blend: tuple[tuple[float, Path], ...] = ()

    @property
    def branch_of(self) -> str | None:
        """The version whose branch it is, also as a soup or one of its branches; None for other paths."""
        if self.kind not in ("branch", "soup"):
            return None
        return self.name.removesuffix(f"-{self.strand}") if self.strand else self.version

    @property
    def parts_words(self) -> str:
        """The weight and place of each checkpoint that it is a mean of; empty if it is trained."""
        return ", ".join(f"{part.weight:.4g} of {part.path} at {part.iteration}" for part in self.mean)

    @property
    def begins_after(self) -> tuple[tuple[str, int], ...]:
        """The paths of the campaign that must be trained before it begins, and the iterations that they must reach."""
        if self.mean:
            return tuple({part.path: (part.path, part.iteration) for part in self.mean}.values())
        return ((self.parent, self.fork),) if self.parent is not None else ()

    def parts_on(self, name: str) -> tuple[MeanPart, ...]:
        """The checkpoints of the path ``name`` that it is a mean of."""
        return tuple(part for part in self.mean if part.path == name)

    @property
    def origin(self) -> str:
        """Its start, in words: its parent, the adopted run, or scratch."""
        if self.adopted is not None:
            return adopted_words(self.adopted, self.fork)
        return self.mean_words or self.parent or "from scratch"

    @property
    def mean_words(self) -> str:
        """The checkpoints that it is a mean of, in words; empty if it is trained."""
        if not self.mean:
            return ""
        names = list(dict.fromkeys(part.path for part in self.mean))
        if len(names) > 1:
            return f"a mean of {', '.join(names[:-1])} and {names[-1]}"
        return f"a mean of {len(self.mean)} checkpoints of {names[0]}"


def adopted_words(folder: object, iteration: int) -> str:
    """Return the words that replace "from scratch" for a path that continues from an earlier run."""
    return f"adopted from {folder} at iteration {iteration:,}"


@dataclass(frozen=True)
class Tree:
    """All paths of a plan, parents before children, and the windows of its timeline."""

    plan: Plan
    windows: tuple[Window, ...]
    paths: tuple[PlannedPath, ...]

    @cached_property
    def by_name(self) -> dict[str, PlannedPath]:
        """Path by name."""
        return {path.name: path for path in self.paths}

    def path(self, name: str) -> PlannedPath:
        """Return the path called ``name``; raises PlanError naming those that exist."""
        if name not in self.by_name:
            raise PlanError(f"path {name!r} is not in campaign {self.plan.campaign}.", f"choose one of {self.names}.")
        return self.by_name[name]

    def tokens(self, path: PlannedPath, iteration: int) -> int:
        """Return the tokens that the model has read at an iteration of a path, its ancestors' included."""
        own = max(0, iteration - path.fork)
        before = self.batches.samples(iteration - own)
        after = self.batches.samples(iteration) - before
        return before * self.plan.sequence_length + after * self.plan_of(path).sequence_length

    @cached_property
    def batches(self) -> Batches:
        """The samples in each iteration, the same for all paths."""
        return self.plan.batches

    def samples(self, path: PlannedPath) -> int:
        """Return the samples that a path itself trains on."""
        return 0 if path.mean else self.batches.between(path.fork, path.end)

    def plan_of(self, path: PlannedPath) -> Plan:
        """Return the plan as it holds for a path: a branch may have its own sequence length, and flags with it."""
        return self.plan.of_branch(path.branch_of) if path.branch_of else self.plan

    @property
    def names(self) -> str:
        """All path names, for messages."""
        return ", ".join(self.by_name)

    @property
    def version_ends(self) -> tuple[tuple[str, int], ...]:
        """(version, iteration at which it ends) of every version, cuts included, by iteration."""
        cuts = tuple((cut.name, cut.fork + cut.iters) for cut in self.plan.cuts)
        return tuple(sorted((*self.planned_ends, *cuts), key=lambda version: version[1]))

    @property
    def planned_ends(self) -> tuple[tuple[str, int], ...]:
        """``version_ends`` without the cuts: the planned versions, which the cost is computed for."""
        return tuple((window.version.name, window.end) for window in self.windows if not window.adopted)

    @property
    def adopted_iterations(self) -> int:
        """Iterations of the adopted run, which the campaign does not train itself; 0 without one."""
        return sum(window.iterations for window in self.windows if window.adopted)

    def fork_points(self, name: str) -> tuple[int, ...]:
        """Return the iterations of the path ``name`` after which another path can begin, rising.

        A branch can begin at its fork, and a mean at the last checkpoint that it is made of.
        """
        forks = {path.fork for path in self.paths if path.parent == name and not path.mean}
        lasts = {max(part.iteration for part in parts) for path in self.paths if (parts := path.parts_on(name))}
        return tuple(sorted(forks | lasts))

    def needed_saves(self, name: str) -> tuple[int, ...]:
        """Return the iterations of the path ``name`` that must be saved because other paths need them, rising."""
        parts = {part.iteration for path in self.paths for part in path.parts_on(name)}
        return tuple(sorted({*self.fork_points(name), *parts}))

    def windows_of(self, path: PlannedPath) -> tuple[Window, ...]:
        """Return the windows of a path's timeline, which begin before its end."""
        return tuple(window for window in self.windows if window.start < path.end)

    def drawn_to(self, path: PlannedPath, iteration: int) -> int:
        """Return the iteration up to which data are drawn for a path at an iteration: its last window's end.

        A mixed order is drawn as a whole once the path has begun itself.
        """
        mixed = path.order == "mixed" and iteration > path.fork
        begun = [window.end for window in self.windows_of(path) if mixed or window.start < iteration]
        return max(begun, default=0)

    def data_windows(self, path: PlannedPath) -> tuple[Window, ...]:
        """Return the windows that a path and its ancestors read; with a blend of its own it reads none itself."""
        return tuple(each for each in self.windows_of(path) if path.order != "blend" or each.start < path.fork)

    def iterations(self, paradigm: str) -> int:
        """Return the total iterations of all paths of a paradigm."""
        return sum(path.iterations for path in self.paths if path.paradigm == paradigm)

    def all_samples(self, paradigm: str) -> int:
        """Return the total samples of all paths of a paradigm."""
        return sum(self.samples(path) for path in self.paths if path.paradigm == paradigm)
