"""The results of a study: perplexity by version and paradigm, its spread over seeds, and what it cost."""

import csv
import io
import json
import math
import operator
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from megatron_lrps.monitor.text_table import table
from megatron_lrps.monitor.version_costs import VersionCost, VersionCosts

TO_PTFS = 1.01
"""Largest perplexity that counts as equal to PTFS': arXiv 2410.04103 finds LRPS close to it or better."""


class Spread(NamedTuple):
    """A figure over seeds: its mean, standard deviation (None for one seed), and from how many."""

    mean: float
    deviation: float | None
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:,.3f}" + ("" if self.deviation is None else f" ± {self.deviation:,.3f}")


def spread(values: Sequence[float]) -> Spread | None:
    """Return the spread of the values; None if there are none, or if one is not finite."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or len(finite) != len(values):
        return None
    deviation = statistics.stdev(finite) if len(finite) > 1 else None
    return Spread(statistics.fmean(finite), deviation, len(finite))


@dataclass(frozen=True, kw_only=True)
class Line:
    """One version of a run by a paradigm.

    Attributes:
        run: The run's name.
        row: The version's cost and its place in the tree. It is a share of what PTFS costs in the run whose PTFS it is
            compared with, even if versions have another length there.
        perplexity: The geometric mean over its validation sets, by seed.
        to: Paradigm -> the same version's perplexity there, by seed.
    """

    run: str
    row: VersionCost
    perplexity: Mapping[int, float]
    to: Mapping[str, Mapping[int, float]]

    @property
    def spread(self) -> Spread | None:
        """The spread of the perplexity over seeds."""
        return spread(list(self.perplexity.values()))

    def ratio(self, paradigm: str) -> Spread | None:
        """Return this perplexity over that of the same version and seed by another paradigm."""
        other = self.to.get(paradigm, {})
        return spread([value / other[seed] for seed, value in self.perplexity.items() if seed in other])


def lines_of(tables: Mapping[tuple[str, int], VersionCosts], baselines: Mapping[str, str] | None = None) -> list[Line]:
    """Return every version of every run, without those not yet validated.

    Args:
        tables: The versions of each (run, seed).
        baselines: Run -> the run that it is compared with in the paradigms that it lacks.
    """
    runs: dict[str, dict[int, dict[str, VersionCost]]] = {}
    for (run, seed), versions in tables.items():
        runs.setdefault(run, {})[seed] = {row.path: row for row in versions.rows}
    found = {
        run: {path: dict(_measured((seed, rows.get(path)) for seed, rows in seeds.items())) for path in _first(seeds)}
        for run, seeds in runs.items()
    }
    lines = []
    for run, seeds in runs.items():
        for path, row in _first(seeds).items():
            if not found[run][path]:
                continue
            to: dict[str, Mapping[int, float]] = {}
            by_ptfs = row.by_ptfs
            for other_run in dict.fromkeys((run, (baselines or {}).get(run, run))):
                for other in _first(runs[other_run]).values() if other_run in runs else ():
                    if other.version == row.version and other.paradigm != row.paradigm:
                        if other.paradigm == "ptfs" and other.paradigm not in to:
                            by_ptfs = other.by_ptfs
                        to.setdefault(other.paradigm, found[other_run][other.path])
            lines.append(Line(run=run, row=replace(row, by_ptfs=by_ptfs), perplexity=found[run][path], to=to))
    return lines


def _first(seeds: Mapping[int, dict[str, VersionCost]]) -> dict[str, VersionCost]:
    return next(iter(seeds.values()))


def _measured(rows: Iterable[tuple[int, VersionCost | None]]) -> Iterable[tuple[int, float]]:
    for seed, row in rows:
        values = list(row.perplexity.values()) if row else []
        known = [value for value in values if value is not None and math.isfinite(value)]
        if known and len(known) == len(values):
            yield seed, math.exp(statistics.fmean(map(math.log, known)))


def not_finite(tables: Mapping[tuple[str, int], VersionCosts]) -> list[str]:
    """Name validated results that are infinite or NaN: they are in no line, which would hide a diverged run."""
    return [
        f"{run}, seed {seed}: {row.path} has a perplexity that is not finite, and is in no mean"
        for (run, seed), versions in tables.items()
        for row in versions.rows
        if any(value is not None and not math.isfinite(value) for value in row.perplexity.values())
    ]


def verdicts(lines: Sequence[Line]) -> list[str]:
    """Say for each run whether LRPS is as good as PTFS and better than CPT, by mean over seeds, from version 2 on."""
    said = []
    for run in dict.fromkeys(line.run for line in lines):
        ours = [line for line in lines if line.run == run and line.row.paradigm == "lrps"][1:]
        for paradigm, limit in (("ptfs", TO_PTFS), ("ptfs-merged", TO_PTFS), ("cpt", 1.0), ("cpt-rewarm", 1.0)):
            ratios = {line.row.version: found for line in ours if (found := line.ratio(paradigm)) is not None}
            if not ratios:
                continue
            holds, bound = (operator.le, f"<= {limit:g}") if limit == TO_PTFS else (operator.lt, "< 1")
            missed = [name for name, found in ratios.items() if not holds(found.mean, limit)]
            numbers = ", ".join(f"{name} {found}" for name, found in ratios.items())
            verdict = "holds" if not missed else f"does not hold for {', '.join(missed)}"
            said.append(f"{run}: perplexity of LRPS over {paradigm.upper()}'s {bound}: {numbers}: {verdict}")
    return said


_HEADERS = (
    *("run", "version", "paradigm", "path", "cost so far", "of PTFS"),
    *("perplexity", "over PTFS", "over CPT", "seeds"),
)


def _cells(line: Line) -> tuple[str, ...]:
    row = line.row
    ratios = (line.ratio(paradigm) for paradigm in ("ptfs", "cpt"))
    return (
        line.run, row.version, row.paradigm, row.path, *row.cost_words, str(line.spread or "-"),
        *("-" if each is None else str(each) for each in ratios), str(len(line.perplexity)),
    )  # fmt: skip


def as_text(lines: Sequence[Line], notes: Sequence[str] = ()) -> str:
    """Format for a terminal; ``notes`` come from ``not_finite``."""
    return "\n".join([table(_HEADERS, [_cells(line) for line in lines]), "", *verdicts(lines), *notes])


def as_markdown(lines: Sequence[Line], title: str, pictures: Sequence[Path] = (), *, notes: Sequence[str] = ()) -> str:
    """Format as a page: the table, verdicts, notes of ``not_finite``, and pictures by relative paths."""
    rows = [_HEADERS, ("---",) * len(_HEADERS), *(_cells(line) for line in lines)]
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    shown = "".join(f"\n![{picture.stem}]({picture.as_posix()})\n" for picture in pictures)
    return f"# {title}\n\n{body}\n\n" + "".join(f"- {each}\n" for each in (*verdicts(lines), *notes)) + shown


def as_csv(lines: Sequence[Line]) -> str:
    """Format a line per seed, at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("run", "seed", "version", "paradigm", "path", "end", "cost", "of_ptfs", "perplexity"))
    for line in lines:
        row = line.row
        facts = (row.version, row.paradigm, row.path, row.end, row.cost, row.of_ptfs)
        writer.writerows((line.run, seed, *facts, value) for seed, value in line.perplexity.items())
    return out.getvalue()


def as_json(lines: Sequence[Line]) -> str:
    """Return JSON: ``lines[]`` and ``verdicts[]``."""
    facts: list[dict[str, Any]] = [
        {
            "run": line.run,
            **{key: getattr(line.row, key) for key in ("version", "paradigm", "path", "cost", "of_ptfs")},
            "perplexity": {str(seed): value for seed, value in line.perplexity.items()},
        }
        for line in lines
    ]
    return json.dumps({"lines": facts, "verdicts": verdicts(lines)}, indent=2) + "\n"
