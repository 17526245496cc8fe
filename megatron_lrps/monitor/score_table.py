"""The costs and scores of versions as a table: for a terminal, as CSV, JSON, HTML and LaTeX."""

import csv
import io
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from megatron_lrps.campaign.scores import measured_by, scores_of
from megatron_lrps.monitor.text_table import number_words, table
from megatron_lrps.monitor.version_costs import VersionCost, VersionCosts

TEXT_WIDTH = 120
TRAINED = "\N{DAGGER}"
"""The mark of a score by the training's own validation among scores by `lrps eval`."""
_BETTER: dict[str, Callable[[list[float]], float]] = {
    **dict.fromkeys(("acc", "acc_norm", "exact_match", "f1", "pass@1"), max),
    **dict.fromkeys(("ppl", "bpb", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"), min),
}
"""A metric -> which of its scores is the best."""
_KEYS = ("version", "paradigm", "path", "end", "iterations", "cost", "of_ptfs")
_HEADERS = ("version", "paradigm", "path", "end", "iterations", "cost so far", "of PTFS")


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The versions of a campaign beside each other: costs and scores.

    Attributes:
        campaign: The campaign's name.
        rows: The versions, one row for each paradigm.
        names: The names of the scores, in the order of their columns.
        scores: Path -> name -> score; a score that is not there was not measured.
        trained: The (path, name) of scores by the training's own validation; the others are by `lrps eval`.
        best: The (path, name) of the best score of a version, if several paradigms have one that is measured alike.
        notes: Sentences that the reader must know.
    """

    campaign: str
    rows: tuple[VersionCost, ...]
    names: tuple[str, ...]
    scores: Mapping[str, Mapping[str, float]]
    trained: frozenset[tuple[str, str]]
    best: frozenset[tuple[str, str]]
    notes: tuple[str, ...]

    @property
    def mixed(self) -> bool:
        """Whether some scores are by the training's own validation, and some are not."""
        every = {(path, name) for path, found in self.scores.items() for name in found}
        return bool(self.trained) and every != self.trained

    def cell(self, row: VersionCost, name: str) -> str:
        """Return a score, with a mark if it is by the training's own validation; or ``-``."""
        value = self.scores[row.path].get(name)
        mark = TRAINED if self.mixed and (row.path, name) in self.trained else ""
        return "-" if value is None else number_words(value, 4) + mark


def score_table(
    versions: VersionCosts, results: Mapping[str, Mapping[str, Any]], *, only: Sequence[str] = ()
) -> ScoreTable:
    """Return the rows and scores of a campaign.

    Args:
        versions: The costs of the versions.
        results: Path -> its ``results.json``. On a set that a version has not been scored on, its perplexity is that
            of the training's own validation, and a note says so.
        only: The versions or paths to show; all if it is empty.
    """
    rows = tuple(row for row in versions.rows if not only or row.path in only or row.version in only)
    scored = {row.path: shown_scores(results[row.path]) if row.path in results else {} for row in rows}
    scores = {row.path: {**_validated(row), **scored[row.path]} for row in rows}
    trained = {(path, name) for path, found in scores.items() for name in found if name not in scored[path]}
    notes = _not_alike(rows, results, scored)
    for row in rows:
        found = results.get(row.path)
        if found is not None and found["iteration"] != row.end:
            notes.append(f"{row.path} was scored at iteration {found['iteration']:,}, not at its end, {row.end:,}.")
    if not any(scored.values()):
        notes.append("No version has been evaluated: perplexities are those of the training's own validation.")
    elif trained:
        notes.append(f"{TRAINED} by the training's own validation at the path's end; all other scores by `lrps eval`.")
    seen = list(dict.fromkeys(name for found in scores.values() for name in found))
    metrics = list(dict.fromkeys(name.partition("/")[0] for name in seen))
    names = tuple(sorted(seen, key=lambda name: metrics.index(name.partition("/")[0])))
    return ScoreTable(
        campaign=versions.campaign,
        rows=rows,
        names=names,
        scores=scores,
        trained=frozenset(trained),
        best=frozenset(_best(rows, names, scores, trained)),
        notes=tuple(notes),
    )


def shown_scores(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores without the loss, which perplexity says already, and without standard errors."""
    scores = scores_of(results).items()
    return {name: value for name, value in scores if not name.startswith("loss/") and "_stderr" not in name}


def _validated(row: VersionCost) -> dict[str, float]:
    return {f"ppl/{name}": value for name, value in row.perplexity.items() if value is not None}


def _not_alike(
    rows: Sequence[VersionCost], results: Mapping[str, Mapping[str, Any]], scores: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Name scores of one name that were not measured alike: their difference says nothing."""
    notes = []
    for name in dict.fromkeys(name for found in scores.values() for name in found):
        having = [row.path for row in rows if name in scores[row.path]]
        first = measured_by(results[having[0]], name)
        for path in having[1:]:
            other = measured_by(results[path], name)
            if key := next((key for key in first if first[key] != other.get(key)), None):
                differ = f"{key} is {first[key]} for {having[0]}, {other.get(key)} for {path}"
                notes.append(f"{name} was not measured alike: {differ}.")
    return notes


def _best(
    rows: Sequence[VersionCost],
    names: Sequence[str],
    scores: Mapping[str, Mapping[str, float]],
    trained: Collection[tuple[str, str]],
) -> list[tuple[str, str]]:
    best = []
    for name in names:
        if (choose := _BETTER.get(name.partition("/")[0])) is None:
            continue
        for version in dict.fromkeys(row.version for row in rows):
            having = {
                row.path: scores[row.path][name] for row in rows if row.version == version and name in scores[row.path]
            }
            known = [value for value in having.values() if math.isfinite(value)]
            # Two ways of measuring differ by more than models do.
            if known and len(having) > 1 and len({(path, name) in trained for path in having}) == 1:
                winner = choose(known)
                best += [(path, name) for path, value in having.items() if value == winner]
    return best


def _facts(row: VersionCost) -> tuple[str, ...]:
    return (row.version, row.paradigm, row.path, f"{row.end:,}", f"{row.iterations:,}", *row.cost_words)


def as_text(found: ScoreTable) -> str:
    """Format for a terminal: a table of costs, and scores in tables of at most 120 characters; ``*`` marks the best."""
    parts = [table(_HEADERS, [_facts(row) for row in found.rows])]
    columns = list(found.names)
    while columns:
        for count in range(len(columns), 0, -1):
            shown = columns[:count]
            text = table(
                ("path", *shown),
                [
                    (row.path, *(found.cell(row, name) + "*" * ((row.path, name) in found.best) for name in shown))
                    for row in found.rows
                ],
            )
            if count == 1 or len(text.partition("\n")[0]) <= TEXT_WIDTH:
                parts.append(text)
                columns = columns[count:]
                break
    if found.notes:
        parts.append("\n".join(found.notes))
    return "\n\n".join(parts) + "\n"


def as_csv(found: ScoreTable) -> str:
    """Format a line per row: scores at full precision, empty if there is none; last, who has measured each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*_KEYS, *found.names, "by_training"))
    for row in found.rows:
        scores = map(found.scores[row.path].get, found.names)
        writer.writerow([*(getattr(row, key) for key in _KEYS), *scores, " ".join(_by_training(found, row))])
    return out.getvalue()


def as_json(found: ScoreTable) -> str:
    """Return JSON: ``campaign``, ``versions`` (a list, each with ``scores`` by name, ``by_training``), ``notes``."""
    rows = [
        {
            **{key: getattr(row, key) for key in _KEYS},
            "scores": {name: value for name, value in found.scores[row.path].items() if math.isfinite(value)},
            "by_training": _by_training(found, row),
        }
        for row in found.rows
    ]
    return json.dumps({"campaign": found.campaign, "versions": rows, "notes": found.notes}, indent=2) + "\n"


def _by_training(found: ScoreTable, row: VersionCost) -> list[str]:
    return [name for name in found.names if (row.path, name) in found.trained]


def as_html(found: ScoreTable) -> str:
    """Format as a page: no script, nothing fetched. The best score of a version is bold."""
    from megatron_lrps.monitor.report.page import render  # jinja2 comes with it

    title = f"Versions of {found.campaign}"
    return render("score_table.html.jinja", title=title, scores=score_columns(found), notes=found.notes)


class ScoreColumns(NamedTuple):
    """Costs and scores for a page.

    Attributes:
        headers: One for each column.
        rows: A cell for each column; the path heads a row, since a version heads several.
        strong: (row, column) of the best score of each version.
    """

    headers: tuple[str, ...]
    rows: list[tuple[str, ...]]
    strong: frozenset[tuple[int, int]]


def score_columns(found: ScoreTable) -> ScoreColumns:
    """Return the columns for a page."""
    rows = [(*_path_first(_facts(row)), *(found.cell(row, name) for name in found.names)) for row in found.rows]
    best = [
        (at, len(_HEADERS) + column)
        for at, row in enumerate(found.rows)
        for column, name in enumerate(found.names)
        if (row.path, name) in found.best
    ]
    return ScoreColumns((*_path_first(_HEADERS), *found.names), rows, frozenset(best))


def _path_first(cells: tuple[str, ...]) -> tuple[str, ...]:
    version, paradigm, path, *others = cells
    return (path, version, paradigm, *others)


def as_latex(found: ScoreTable) -> str:
    """Format as a booktabs tabular; notes are comments in front of it. The best score of a version is bold."""
    lines = [f"% {each.replace(TRAINED, 'A dagger:')}" for each in found.notes]
    lines += [
        f"\\begin{{tabular}}{{lll{'r' * (len(_HEADERS) - 3 + len(found.names))}}}",
        "\\toprule",
        " & ".join(map(_latex, (*_HEADERS, *found.names))) + " \\\\",
        "\\midrule",
    ]
    for row in found.rows:
        cells = [_latex(each) for each in _facts(row)]
        for name in found.names:
            text = _latex(found.cell(row, name))
            cells.append(f"\\textbf{{{text}}}" if (row.path, name) in found.best else text)
        lines.append(" & ".join(cells) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


_LATEX = {
    **{each: f"\\{each}" for each in "&%$#_{}"},
    TRAINED: r"\textdagger{}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(each, each) for each in text)


FORMS = {"text": as_text, "csv": as_csv, "json": as_json, "html": as_html, "latex": as_latex}
"""``--format`` -> the function that makes it."""
