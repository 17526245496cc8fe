"""The version table: what each version cost so far, and its perplexity on every validation set."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_lrps.monitor.scalars import Runs, read_run
from megatron_lrps.monitor.text import number_words, table
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.data import validation_sets
from megatron_lrps.versions.folder import CampaignFolder

TEXT_WIDTH = 120
SETS_PER_TABLE = 6


@dataclass(frozen=True, kw_only=True)
class Total:
    """What a paradigm's planned versions cost together, in iterations, and the same versions by PTFS and CPT.

    ``cuts`` is what versions cost that were cut off main besides: no share counts them.
    """

    paradigm: str
    iterations: int
    cuts: int
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
        cost: All iterations that the paradigm needed for the planned versions before this one, and for this one.
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

    @property
    def sets(self) -> tuple[str, ...]:
        """Every validation set of a row, in the order of the versions."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.perplexity))


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
    planned = dict(tree.planned_releases)
    rows = []
    paths = [path for path in tree.paths if path.version is not None]
    for path in sorted(paths, key=lambda path: order[str(path.version)]):
        index = order[str(path.version)]
        before = [version for version in planned if order[version] < index]
        rivals = [each for each in paths if each.paradigm == path.paradigm and each.version in (*before, path.version)]
        cost = tree.needed(rivals)
        end = tree.releases[index][1]
        rows.append(
            VersionRow(
                version=str(path.version),
                paradigm=path.paradigm,
                path=path.name,
                fork=path.fork,
                end=path.end,
                iterations=path.iterations,
                cost=cost,
                of_ptfs=cost / (sum(planned[version] for version in before) + end),
                of_cpt=cost / end,
                perplexity=_perplexity(tree, campaign, path, runs),
            )
        )
    totals = []
    for paradigm in dict.fromkeys(path.paradigm for path in tree.paths):
        iterations = tree.planned_iterations(paradigm)
        cuts = tree.iterations(paradigm) - iterations
        ends = planned.values()
        totals.append(
            Total(paradigm=paradigm, iterations=iterations, cuts=cuts, ptfs=sum(ends), cpt=max(ends)),
        )
    return VersionTable(campaign=tree.plan.campaign, totals=tuple(totals), rows=tuple(rows))


def _perplexity(tree: Tree, campaign: CampaignFolder, path: PlannedPath, runs: Runs | None) -> dict[str, float | None]:
    tags = {f"lm loss validation-{name}": name for name in validation_sets(tree, path)}
    run = read_run(campaign.tensorboard(path.name), tags) if runs is None else runs[path.name]
    return {name: _exp(dict(run.get(tag, [])).get(path.end)) for tag, name in tags.items()}


def _exp(loss: float | None) -> float | None:
    try:
        return None if loss is None else math.exp(loss)
    except OverflowError:
        return math.inf


def as_text(versions: VersionTable) -> str:
    """For a terminal; perplexities go to tables of their own where one table would be wider than 120 characters."""
    lines = [*_total_lines(versions), ""]
    whole = table((*_HEADERS, *_perplexity_headers(versions.sets)), _cells(versions, versions.sets))
    if len(whole.partition("\n")[0]) <= TEXT_WIDTH:
        return "\n".join([*lines, whole])
    lines.append(table(_HEADERS, _cells(versions, ())))
    for start in range(0, len(versions.sets), SETS_PER_TABLE):
        sets = versions.sets[start : start + SETS_PER_TABLE]
        rows = [(row.path, *_perplexity_cells(row, sets)) for row in versions.rows]
        lines += ["", table(("path", *_perplexity_headers(sets)), rows)]
    return "\n".join(lines)


def as_markdown(versions: VersionTable) -> str:
    """As a GitHub table below the total cost."""
    headers = (*_HEADERS, *_perplexity_headers(versions.sets))
    rules = ["---" if header in ("version", "paradigm", "path") else "---:" for header in headers]
    rows = [
        [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in _cells(versions, versions.sets)
    ]
    body = "\n".join("| " + " | ".join(row) + " |" for row in (headers, rules, *rows))
    return "\n\n".join([*_total_lines(versions), body]) + "\n"


def as_csv(versions: VersionTable) -> str:
    """One line a version; shares and perplexities at full precision, empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*_KEYS, *(f"perplexity_{name}" for name in versions.sets)))
    for row in versions.rows:
        perplexities = (row.perplexity.get(name) for name in versions.sets)
        writer.writerow([*(getattr(row, key) for key in _KEYS), *perplexities])
    return out.getvalue()


def as_json(versions: VersionTable) -> str:
    """Keys: ``campaign``, ``totals`` (by paradigm) and ``versions`` (a list of ``VersionRow``'s fields).

    A perplexity is null where there is none yet, and where it is no finite number, which JSON does not have.
    """
    totals = {
        total.paradigm: {
            "iterations": total.iterations,
            "cuts": total.cuts,
            "ptfs": total.ptfs,
            "cpt": total.cpt,
            "of_ptfs": total.of_ptfs,
            "of_cpt": total.of_cpt,
        }
        for total in versions.totals
    }
    rows: list[dict[str, Any]] = [
        {
            **{key: getattr(row, key) for key in _KEYS},
            "perplexity": {
                name: value if value is not None and math.isfinite(value) else None
                for name, value in row.perplexity.items()
            },
        }
        for row in versions.rows
    ]
    return json.dumps({"campaign": versions.campaign, "totals": totals, "versions": rows}, indent=2) + "\n"


_KEYS = ("version", "paradigm", "path", "fork", "end", "iterations", "cost", "of_ptfs", "of_cpt")
_HEADERS = ("version", "paradigm", "path", "fork", "end", "iterations", "cost so far", "of PTFS", "of CPT")


def _total_lines(versions: VersionTable) -> list[str]:
    lines = [
        f"{total.iterations:,} iterations: {total.of_ptfs:.0%} of PTFS ({total.ptfs:,}), "
        f"{total.of_cpt:.0%} of CPT ({total.cpt:,}){f'; {total.cuts:,} more for cuts' if total.cuts else ''}"
        for total in versions.totals
    ]
    if len(lines) == 1:
        return lines
    return [f"{total.paradigm}: {line}" for total, line in zip(versions.totals, lines, strict=True)]


def _perplexity_headers(sets: Sequence[str]) -> list[str]:
    return [f"ppl {name}" for name in sets]


def _perplexity_cells(row: VersionRow, sets: Sequence[str]) -> list[str]:
    values = [row.perplexity.get(name) for name in sets]
    return ["-" if value is None else number_words(value, 3) for value in values]


def _cells(versions: VersionTable, sets: Sequence[str]) -> list[tuple[object, ...]]:
    return [
        (
            row.version,
            row.paradigm,
            row.path,
            row.fork,
            row.end,
            row.iterations,
            row.cost,
            f"{row.of_ptfs:.0%}",
            f"{row.of_cpt:.0%}",
            *_perplexity_cells(row, sets),
        )
        for row in versions.rows
    ]
