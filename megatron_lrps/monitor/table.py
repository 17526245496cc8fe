"""The version table: what each version cost so far, and its perplexity on every validation set."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from megatron_lrps.monitor.scalars import Runs, read_run
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.data import validation_sets
from megatron_lrps.versions.folder import CampaignFolder


@dataclass(frozen=True, kw_only=True)
class Total:
    """What a paradigm's paths cost together, in iterations, and the same versions by PTFS and CPT."""

    paradigm: str
    iterations: int
    ptfs: int
    cpt: int

    @property
    def of_ptfs(self) -> float:
        """Share of PTFS: 0.58 for four equal versions with alpha 0.6 (arXiv 2410.04103)."""
        return self.iterations / self.ptfs

    @property
    def of_cpt(self) -> float:
        """Share of CPT."""
        return self.iterations / self.cpt


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """One version by one paradigm.

    Attributes:
        version: Its name.
        paradigm: ``lrps``, ``ptfs``, ``cpt`` or ``explicit``.
        path: The path whose end it is.
        fork: The iteration that the path starts after.
        end: The path's last iteration.
        iterations: What the path itself trains.
        cost: All iterations that the paradigm needed for the versions up to and including this one.
        of_ptfs: ``cost`` as a share of retraining each of these versions from scratch.
        of_cpt: ``cost`` as a share of continuing from version to version.
        perplexity: Validation set -> perplexity at the path's end; None until it has been validated there.
    """

    version: str
    paradigm: str
    path: str
    fork: int
    end: int
    iterations: int
    cost: int
    of_ptfs: float
    of_cpt: float
    perplexity: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class VersionTable:
    """All versions of a campaign, one paradigm's beside the other's, and what each paradigm costs in all."""

    campaign: str
    totals: tuple[Total, ...]
    rows: tuple[VersionRow, ...]


def version_table(tree: Tree, campaign: CampaignFolder, *, runs: Runs | None = None) -> VersionTable:
    """The table of a campaign, from its plan and its TensorBoard files.

    Args:
        tree: The plan's tree.
        campaign: Where its TensorBoard files lie.
        runs: Path -> tag -> what it logged, where that was read before.

    Raises:
        RefusedError: where an event file cannot be read.
    """
    order = {version: index for index, (version, _) in enumerate(tree.releases)}
    ends = [end for _, end in tree.releases]
    rows = []
    paths = [path for path in tree.paths if path.version is not None]
    for path in sorted(paths, key=lambda path: order[str(path.version)]):
        index = order[str(path.version)]
        rivals = [each for each in paths if each.paradigm == path.paradigm and order[str(each.version)] <= index]
        cost = _needed(tree, rivals)
        rows.append(
            VersionRow(
                version=str(path.version),
                paradigm=path.paradigm,
                path=path.name,
                fork=path.fork,
                end=path.end,
                iterations=path.iterations,
                cost=cost,
                of_ptfs=cost / sum(ends[: index + 1]),
                of_cpt=cost / ends[index],
                perplexity=_perplexity(tree, campaign, path, runs),
            )
        )
    totals = [
        Total(paradigm=paradigm, iterations=tree.iterations(paradigm), ptfs=sum(ends), cpt=ends[-1])
        for paradigm in dict.fromkeys(path.paradigm for path in tree.paths)
    ]
    return VersionTable(campaign=tree.plan.campaign, totals=tuple(totals), rows=tuple(rows))


def _needed(tree: Tree, paths: Sequence[PlannedPath]) -> int:
    """Iterations that must be trained for ``paths`` to end: their own, and their ancestors' up to the forks."""
    reach: dict[str, int] = {}
    for path in paths:
        until = path.end
        while True:
            reach[path.name] = max(until, reach.get(path.name, 0))
            if path.parent is None:
                break
            until, path = path.fork, tree.path(path.parent)
    return sum(until - tree.path(name).fork for name, until in reach.items())


def _perplexity(tree: Tree, campaign: CampaignFolder, path: PlannedPath, runs: Runs | None) -> dict[str, float | None]:
    tags = {f"lm loss validation-{name}": name for name in validation_sets(tree, path)}
    run = read_run(campaign.tensorboard(path.name), tags) if runs is None else runs[path.name]
    return {name: _exp(dict(run.get(tag, [])).get(path.end)) for tag, name in tags.items()}


def _exp(loss: float | None) -> float | None:
    try:
        return None if loss is None else math.exp(loss)
    except OverflowError:
        return math.inf
