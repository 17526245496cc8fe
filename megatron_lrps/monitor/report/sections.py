"""The facts that each section of a report shows; the words around them stand in ``templates/report.html.jinja``."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from megatron_lrps.campaign.history import condense
from megatron_lrps.campaign.lineage import schedule_words
from megatron_lrps.campaign.releases import UNMET
from megatron_lrps.monitor.pictures.loss_picture import loss_sets, lost
from megatron_lrps.monitor.printed_figures import SECONDS, THROUGHPUT, Printed
from megatron_lrps.monitor.report.material import NORM, Material
from megatron_lrps.monitor.scalars import Runs, median_words
from megatron_lrps.monitor.text_table import epochs_words, number_words
from megatron_lrps.monitor.window_shift import window_shift
from megatron_lrps.plan import PlannedPath
from megatron_lrps.plan.file_paths import within

Rows = list[tuple[Any, ...]]

EVENTS = 500
"""The number of latest events that the report shows."""
LAST = 5
"""The latest loss or gradient norm of a path is the median of so many values."""
_COUNTED = {"saved", "deleted"}
"""Events of single checkpoints: a row of them is one line with their number."""


def state(found: Material) -> dict[str, Any]:
    """Return the campaign's progress, each paradigm's cost, and the tree of paths in words."""
    planned = sum(path.iterations for path in found.tree.paths)
    trained = planned - sum(each.iterations_left for each in found.standings)
    versions = [each for each in found.standings if each.path.version is not None]
    return {
        "percent": _percent(trained, planned),
        "trained": trained,
        "planned": planned,
        "versions": len(versions),
        "versions_trained": sum(each.done for each in versions),
        "versions_released": sum(each.state == "released" for each in versions),
        "shares": [
            (total.paradigm.upper(), f"{total.of_ptfs:.0%}")
            for total in found.totals
            if total.paradigm not in ("ptfs", "explicit")
        ],
        "branches": _branches(found, None),
    }


def _percent(part: int, whole: int) -> str:
    return f"{100 * part // whole}%" if whole else "-"


def _branches(found: Material, parent: str | None) -> list[dict[str, Any]]:
    return [
        {
            "name": path.name,
            "version": path.version if path.version != path.name else None,
            "state": str(standing),
            "percent": _percent(path.iterations - standing.iterations_left, path.iterations),
            "origin": _origin(path),
            "end": path.end,
            "children": _branches(found, path.name),
        }
        for path, standing in zip(found.tree.paths, found.standings, strict=True)
        if path.parent == parent
    ]


def _origin(path: PlannedPath) -> str | None:
    if path.mean or path.adopted:
        return path.origin
    return f"forks at {path.fork:,}" if path.parent else None


def learning_rate(found: Material) -> dict[str, Any]:
    """Return the learning rate of each path in words, and where each path begins."""
    paths = found.tree.paths
    return {
        "adopted": [path for path in paths if path.adopted is not None],
        "from_scratch": [path.name for path in paths if path.parent is None and path.adopted is None],
        "forks": [f"{path.name} off {path.parent} at {path.fork:,}" for path in paths if path.parent and not path.mean],
        "rows": [
            (path.name, path.origin, path.fork, path.end, "; ".join(schedule_words(facts.values)) or "-")
            for path, facts in zip(paths, found.facts.values(), strict=True)
        ],
    }


def losses(found: Material) -> dict[str, Any]:
    """Return each path's latest losses, and which losses are not finite: the picture's curves leave these out."""
    tags = loss_sets(found.tree)
    sets = {name: tag for name, tag in tags.items() if any(tag in run for run in found.runs.values())}
    rows: Rows = []
    not_finite = []
    for path, run in found.runs.items():
        training = run.get("lm loss", [])
        if run:
            validated = [number_words(run[tag][-1][1], 4) if run.get(tag) else None for tag in sets.values()]
            latest = median_words([loss for _, loss in training], 4, last=LAST)
            rows.append((path, training[-1][0] if training else None, latest, *validated))
        for name, tag in {"training": "lm loss", **{f"on {name}": tag for name, tag in tags.items()}}.items():
            if stretches := lost(run.get(tag, [])):
                count, first, last = sum(each for *_, each in stretches), stretches[0][0], stretches[-1][1]
                where = f"at {first:,}" if first == last else f"from {first:,} to {last:,}"
                not_finite.append(f"{path} {name}, {count:,} {where}")
    return {
        "paths": [name for name, run in found.runs.items() if run],
        "headers": [f"on {name}" for name in sets],
        "rows": rows,
        "last": LAST,
        "not_finite": not_finite,
        "shift": window_shift(found.tree, found.runs),
    }


def pace(runs: Runs, printed: Mapping[str, Printed], *, gpus: bool) -> dict[str, Any]:
    """Return how fast each path trained, how steadily, and what it took.

    Args:
        runs: Path -> tag -> its logged figures.
        printed: Path -> the figures in its logs.
        gpus: Whether a rank is a GPU.
    """
    rows: Rows = []
    hours: list[float | None] = []
    for name, run in runs.items():
        said = printed.get(name, Printed())
        norms = [value for _, value in run.get(NORM, [])]
        # max() would take a NaN for the highest norm, or pass over it, by where in the series it stands.
        highest = math.nan if not all(map(math.isfinite, norms)) else max(norms, default=0.0)
        figures = [median_words(norms, 3, last=LAST), number_words(highest, 3) if norms else None]
        for tag, digits in ((SECONDS, 3), (THROUGHPUT, 1)):
            logged = [value for _, value in run.get(tag, [])]
            words = median_words(logged or [each.value for each in said.points.get(tag, [])], digits)
            # Megatron prints one digit after the point: a model on a CPU computes, and not nothing.
            figures.append("below 0.05" if words == "0.0" and not logged else words)
        if norms or any(each is not None for each in figures) or said.points:
            hours.append(said.rank_hours)
            rows.append((name, *figures, _hours(said.rank_hours)))
    if len(rows) > 1:
        known = [each for each in hours if each is not None]
        rows.append(("all", None, None, None, None, _hours(sum(known) if len(known) == len(hours) else None)))
    return {"rows": rows, "last": LAST, "rank": "GPU" if gpus else "rank"}


def _hours(hours: float | None) -> str | None:
    return None if hours is None else number_words(hours, 2)


def costs(found: Material) -> dict[str, Any]:
    """Return each paradigm's total cost, against retraining each version (PTFS) and continuing (CPT)."""
    plan = found.tree.plan
    cut = {each.name for each in plan.cuts}
    rows: Rows = []
    for each in found.totals:
        # Branches with samples of another length read more or fewer tokens in an iteration.
        more = {True: 0, False: 0}
        for path in (path for path in found.tree.paths if path.paradigm == each.paradigm):
            length = found.tree.plan_of(path).sequence_length - plan.sequence_length
            more[path.name in cut] += found.tree.samples(path) * length
        # Listed paths are alternatives: their total cost is not a price of the versions.
        shares = (None, None) if each.paradigm == "explicit" else (f"{each.of_ptfs:.0%}", f"{each.of_cpt:.0%}")
        tokens, cut_tokens = (count * plan.sequence_length for count in (each.samples, each.cut_samples))
        rows.append((each.paradigm.upper(), each.iterations, tokens + more[False], *shares))
        if each.cuts:
            rows.append(
                (
                    f"{each.paradigm.upper()}, cuts besides",
                    each.cuts,
                    cut_tokens + more[True],
                    None,
                    None,
                )
            )
    return {"listed": {each.paradigm for each in found.totals} == {"explicit"}, "rows": rows}


def data(found: Material) -> Rows:
    """Return the data that each version has read, and how often."""
    return [
        (
            read.path,
            "by plan" if read.planned else "yes",
            each.version,
            within(each.prefix, found.tree.plan.base),
            each.samples,
            each.replayed or "-",
            epochs_words(each.epochs),
        )
        for read in found.data_read
        for each in read.totals
    ]


def scores(found: Material) -> dict[str, Any]:
    """Return every score with how it was measured."""
    sets: Rows = []
    tasks: Rows = []
    for path, results in found.results.items():
        for name, each in results["perplexity"].items():
            values = (_decimal(each.get(key)) for key in ("perplexity", "bits_per_byte"))
            sets.append((path, results["iteration"], name, *values, _count(each.get("tokens")), _word(each, "engine")))
        for task, each in results["tasks"].items():
            metrics = each.get("metrics") or {}
            for metric, value in metrics.items():
                if "_stderr" not in metric:
                    error = _decimal(metrics.get(f"{metric}_stderr"))
                    tasks.append((path, results["iteration"], task, metric, _decimal(value), error))
    return {"evaluated": bool(found.results), "sets": sets, "tasks": tasks}


def _decimal(value: Any) -> str:
    return f"{value:,.4f}" if type(value) is float else _count(value)


def _count(value: Any) -> str:
    return f"{value:,}" if type(value) is int and abs(value) < 10**18 else "-"


def _word(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else "-"


def releases(found: Material) -> list[dict[str, Any]]:
    """Return each path's released versions, with what each was tested for, and why its gate was not met last."""
    paths = []
    for path, facts in found.facts.items():
        released = facts.values.get("released")
        named = released.items() if isinstance(released, dict) else ()
        made = [_release(version, each) for version, each in named if isinstance(each, dict)]
        turns = [each for each in found.histories.get(path, ()) if each.get("event") in ("released", UNMET)]
        unmet = _word(turns[-1], "message") if turns and turns[-1]["event"] == UNMET else None
        if made or unmet:
            paths.append({"name": path, "made": made, "unmet": unmet})
    return paths


def _release(version: str, released: Mapping[str, Any]) -> dict[str, Any]:
    gate, difference = released.get("gate"), released.get("checked")
    return {
        "version": version,
        "time": _word(released, "time"),
        "iteration": _count(released.get("iteration")),
        "verified": _word(released, "verified"),
        "difference": f"{difference:.2g}" if type(difference) in (int, float) else None,
        "export": _word(released, "export"),
        "gate": [str(each) for each in gate] if isinstance(gate, list) else [],
        "unmet": bool(released.get("unmet")),
    }


class Happening(NamedTuple):
    """An event, as a line of the report.

    Attributes:
        time: The time when it first happened (UTC), or empty.
        path: The name of the path.
        what: The event in words.
    """

    time: str
    path: str
    what: str


def in_order(histories: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[Happening]:
    """Merge the histories of all paths, oldest first; lines without a time come first.

    Args:
        histories: Path -> lines of its events.jsonl, oldest first. Values of the wrong type are left out.
    """
    lines: list[Happening] = []
    for path, history in histories.items():
        events = [dict(event) for event in history if isinstance(event.get("event"), str)]
        lines += [
            Happening(_time(group[0]), path, _checkpoints(name, group))
            for name, group in ((name, list(group)) for name, group in itertools.groupby(events, lambda e: e["event"]))
            if name in _COUNTED
        ]
        lines += [Happening(entry.time or "", path, str(entry)) for entry in condense(events)]
    # Stable: within one second, a path's saves stay before its end.
    return sorted(lines, key=lambda line: line.time)


def _time(event: Mapping[str, Any]) -> str:
    time = event.get("time")
    return time if isinstance(time, str) else ""


def _checkpoints(name: str, events: list[dict[str, Any]]) -> str:
    where = [event["iteration"] for event in events if type(event.get("iteration")) is int]
    many = f"{len(events):,} checkpoints" if len(events) > 1 else "a checkpoint"
    if not where:
        return f"{name} {many}"
    span = f"{min(where):,}" if min(where) == max(where) else f"{min(where):,} to {max(where):,}"
    return f"{name} {many}, at {span}"


def happenings(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the latest events of all paths, and how many there are in all."""
    lines = in_order(histories)
    return {"rows": [(_when(line.time), line.path, line.what) for line in lines[-EVENTS:]], "count": len(lines)}


def _when(time: str) -> tuple[str, str] | None:
    """Return the date and the time of day, between which a narrow page may break the line."""
    date, _, of_day = time.removesuffix("+00:00").partition("T")
    return (date, of_day) if date else None
