"""The cost of each version so far, and its perplexity on every validation set."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.scores import read_results
from megatron_lrps.monitor.scalars import Runs, read_run
from megatron_lrps.plan import PlannedPath
from megatron_lrps.plan.cost import planned_iterations, planned_samples
from megatron_lrps.plan.data_files import validation_sets
from megatron_lrps.plan.version_source import iterations_for, samples_for, sources_of


@dataclass(frozen=True, kw_only=True)
class ParadigmCost:
    """The total cost of a paradigm's planned versions, and of the same by PTFS and CPT in samples.

    Versions that were cut off main later cost ``cuts`` iterations besides, of ``cut_samples``, which no share counts.
    """

    paradigm: str
    iterations: int
    samples: int
    cuts: int
    cut_samples: int
    ptfs: int
    cpt: int

    @property
    def of_ptfs(self) -> float:
        """The share of PTFS: 0.58 for four equal versions with alpha 0.6 (arXiv 2410.04103)."""
        return self.samples / self.ptfs

    @property
    def of_cpt(self) -> float:
        """The share of CPT."""
        return self.samples / self.cpt


@dataclass(frozen=True, kw_only=True)
class VersionCost:
    """One version by one paradigm.

    Attributes:
        version: The version's name.
        paradigm: ``lrps``, ``ptfs``, ``cpt`` or ``explicit``.
        path: The path that ends with the version.
        fork: The iteration that the path starts after.
        end: The path's last iteration.
        iterations: The number of iterations that the path itself trains.
        cost: All iterations that the paradigm needed for the planned versions before this one, and for this one.
        samples: ``cost``, in samples.
        by_ptfs: The samples of retraining each of these versions from scratch.
        of_cpt: ``samples`` as a share of continuing from version to version.
        perplexity: Validation set -> perplexity at the path's end; None until it has been validated there. A mean of
            checkpoints has its scores by `lrps eval`.
    """

    version: str
    paradigm: str
    path: str
    fork: int
    end: int
    iterations: int
    cost: int
    samples: int
    by_ptfs: int
    of_cpt: float
    perplexity: Mapping[str, float | None]

    @property
    def of_ptfs(self) -> float:
        """The cost, in samples, as a share of that of PTFS."""
        return self.samples / self.by_ptfs

    @property
    def cost_words(self) -> tuple[str, str]:
        """The cost, and its share of PTFS; dashes for listed paths, since alternatives have no total."""
        return ("-", "-") if self.paradigm == "explicit" else (f"{self.cost:,}", f"{self.of_ptfs:.0%}")


@dataclass(frozen=True, kw_only=True)
class VersionCosts:
    """All versions of a campaign, paradigms side by side, and the total cost of each paradigm."""

    campaign: str
    totals: tuple[ParadigmCost, ...]
    rows: tuple[VersionCost, ...]


def version_costs(campaign: Campaign, *, runs: Runs | None = None) -> VersionCosts:
    """Return the table of a campaign, from its plan and its TensorBoard files.

    Args:
        campaign: The campaign.
        runs: Path -> tag -> its logged figures, if already read.

    Raises:
        RefusedError: An event file cannot be read.
    """
    tree = campaign.tree
    order = {version: index for index, (version, _) in enumerate(tree.version_ends)}
    planned, consumed = dict(tree.planned_ends), tree.batches.samples
    adopted = consumed(tree.adopted_iterations)
    rows, sources = [], sources_of(tree)
    for source in sources:
        index, path = order[source.version], tree.path(source.path)
        before = [version for version in planned if order[version] < index]
        together = (*before, source.version)
        needed = [each for each in sources if each.paradigm == source.paradigm and each.version in together]
        samples = samples_for(tree, needed)
        end = tree.version_ends[index][1]
        rows.append(
            VersionCost(
                version=source.version,
                paradigm=path.paradigm,
                path=path.name,
                fork=path.fork,
                end=path.end,
                iterations=path.iterations,
                cost=iterations_for(tree, needed),
                samples=samples,
                by_ptfs=sum(consumed(planned[version]) for version in before) + consumed(end),
                of_cpt=samples / (consumed(end) - adopted),
                perplexity=_perplexity(campaign, path, runs),
            )
        )
    totals = []
    for paradigm in dict.fromkeys(path.paradigm for path in tree.paths):
        iterations = planned_iterations(tree, paradigm)
        samples = planned_samples(tree, paradigm)
        totals.append(
            ParadigmCost(
                paradigm=paradigm,
                iterations=iterations,
                samples=samples,
                cuts=tree.iterations(paradigm) - iterations,
                cut_samples=tree.all_samples(paradigm) - samples,
                ptfs=sum(map(consumed, planned.values())),
                cpt=consumed(max(planned.values())) - adopted,
            )
        )
    return VersionCosts(campaign=tree.plan.campaign, totals=tuple(totals), rows=tuple(rows))


def _perplexity(campaign: Campaign, path: PlannedPath, runs: Runs | None) -> dict[str, float | None]:
    if path.mean:  # no training has validated it, so its scores are those of `lrps run` on a CPU, or of `lrps eval`
        results = read_results(campaign.folder, path.name) or {}
        found = results.get("perplexity", {}) if results.get("iteration") == path.end else {}
        return {name: _number(found.get(name, {}).get("perplexity")) for name in validation_sets(campaign.tree, path)}
    tags = {f"lm loss validation-{name}": name for name in validation_sets(campaign.tree, path)}
    run = read_run(campaign.folder.tensorboard(path.name), tags) if runs is None else runs[path.name]
    return {name: _exp(dict(run.get(tag, [])).get(path.end)) for tag, name in tags.items()}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _exp(loss: float | None) -> float | None:
    try:
        return None if loss is None else math.exp(loss)
    except OverflowError:
        return math.inf
