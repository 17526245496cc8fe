"""What is derived for one path: figures over tokens, markers, its history in words, its HParams; and its backfill."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event

from megatron_lrps.campaign.history import condense
from megatron_lrps.campaign.lineage import Facts, schedule_words
from megatron_lrps.monitor.printed_figures import LOSS, SECONDS, THROUGHPUT, Printed, seconds_of
from megatron_lrps.monitor.scalars import VALIDATION, VS_SAMPLES, Point, Series
from megatron_lrps.monitor.tensorboard.event_file import encode, scalar, text
from megatron_lrps.monitor.tensorboard.hparams import Hparams, precision, session_begin, session_end
from megatron_lrps.monitor.tensorboard.markdown import TEXTS, table
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.flags import lr_range

RATE, NORM = "learning-rate", "grad-norm"
VS_TOKENS = " vs tokens"
MARKERS = "markers/"
PERPLEXITY = " ppl"
_ENDS = {"stopped": "stopped", "done": "ended"}
"""events.jsonl's word -> the marker's."""
PRINTED = "printed/"
_PACE = (SECONDS, THROUGHPUT, "iter-energy/gpu", "power/gpu")
"""Tags that Megatron prints, and logs with flags of their own alone; then as often as it prints."""

Points = Mapping[str, Sequence[Point]]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the files say of a path.

    Attributes:
        path: By the plan.
        facts: Its record.
        history: Lines of its events.jsonl, oldest first.
        logged: Tag -> points of Megatron's event files, over iterations.
        printed: What its logs say.
        missing: Tag -> points that were printed, and not logged though the path logs such figures.
        saved: Its newest complete checkpoint's iteration, or None.
    """

    path: PlannedPath
    facts: Facts
    history: Sequence[Mapping[str, Any]]
    logged: Points
    printed: Printed
    missing: Points
    saved: int | None

    @property
    def begun(self) -> bool:
        """Whether there is anything to show of it."""
        return bool(self.logged or self.missing or self.history)

    @cached_property
    def times(self) -> tuple[float, float]:
        """Of its first and its last figure or event, in seconds since 1970; 0 where it has none."""
        found = [point.time for points in (self.logged, self.missing) for each in points.values() for point in each]
        found += [time for event in self.history if (time := _time(event))]
        return min(found, default=0.0), max(found, default=0.0)

    @cached_property
    def losses(self) -> dict[int, float]:
        """Iteration -> training loss, logged or printed."""
        return {point.step: point.value for points in (self.missing, self.logged) for point in points.get(LOSS, ())}

    @property
    def run(self) -> dict[str, Series]:
        """What was logged, without times: what the version table is made from."""
        return {tag: [(step, value) for step, value, _ in points] for tag, points in self.logged.items()}

    @property
    def pace(self) -> Points:
        """Tag -> points of what the path only prints: times, throughput, power."""
        return {
            PRINTED + tag: self.printed.points[tag] for tag in _PACE if tag in self.printed.points.keys() - self.logged
        }

    @property
    def tags(self) -> set[str]:
        """Every tag of its runs that a chart could show."""
        over_iterations = {*self.logged, *self.missing, *self.pace}
        on_all_axes = {tag for tag in over_iterations if _on_all_axes(tag)}
        return over_iterations | {tag + axis for tag in on_all_axes for axis in (VS_SAMPLES, VS_TOKENS)}

    @property
    def reached(self) -> int:
        """The last iteration of which anything is known, or 0."""
        steps = [series[-1].step for points in (self.logged, self.missing) for series in points.values()]
        return max([self.saved or 0, *steps])


def missing_in(tree: Tree, logged: Points, printed: Points, *, until: float) -> dict[str, list[Point]]:
    """The printed points that Megatron would have logged, and has not.

    Args:
        tree: The plan's, whose ``tensorboard-log-interval`` says which iterations are logged.
        logged: Tag -> points of the event files, over iterations.
        printed: Tag -> points of the logs.
        until: The last iteration to fill in.
    """
    interval = tree.plan.megatron.get("tensorboard-log-interval", 1)
    every = interval if type(interval) is int and interval > 0 else 1
    found: dict[str, list[Point]] = {}
    for tag, points in printed.items():
        if tag in _PACE and tag not in logged:
            continue
        have = {point.step for point in logged.get(tag, ())}
        always = tag in _PACE or VALIDATION in tag
        lacking = [
            point
            for point in points
            if point.step not in have and point.step <= until and (always or point.step % every == 0)
        ]
        if lacking:
            found[tag] = lacking
    return found


def with_kept(missing: Points, before: Points, logged: Points, printed: Points) -> dict[str, list[Point]]:
    """What is missing now, and what was backfilled before from logs that are gone: no other copy of it may be left.

    Args:
        missing: Tag -> points that were printed and not logged.
        before: Tag -> points that were backfilled before.
        logged: Tag -> points of the event files.
        printed: Tag -> points of the logs that are there. From its first iteration on they decide: what was
            backfilled there and is in no log was trained again.
    """
    first = min((series[0].step for series in printed.values()), default=math.inf)
    found = {tag: list(points) for tag, points in missing.items()}
    for tag, points in before.items():
        have = {point.step for series in (logged, missing) for point in series.get(tag, ())}
        if kept := [point for point in points if point.step < first and point.step not in have]:
            found[tag] = sorted([*found.get(tag, []), *kept])
    return found


def path_content(
    tree: Tree, known: Known, parent: Known | None, *, hparams: Hparams | None, metrics: Mapping[str, float]
) -> bytes:
    """The derived event file in the path's own run folder.

    Args:
        tree: The plan's.
        known: What is known of the path, which has begun.
        parent: The same of its parent.
        hparams: What its version was made with; None where it gives none.
        metrics: Tag -> value of its final scores and cost.
    """
    began, ended = known.times
    first, last = [text(f"{TEXTS}path", 0, _description(tree, known), began)], []
    if hparams is not None:
        done = known.saved == known.path.end
        first.append(session_begin(known.path.name, hparams, began))
        last = [scalar(tag, known.path.end, value, ended) for tag, value in metrics.items()]
        last.append(session_end(done=done, time=ended))
    # By iteration, so that a path that has trained on only appends.
    pace = [(point.step, scalar(tag, *point)) for tag, points in known.pace.items() for point in points]
    figures = [*_over_tokens(tree, known.logged), *pace, *_markers(tree, known, parent), *_words(known)]
    ordered = [event for _, event in sorted(figures, key=lambda figure: figure[0])]
    return encode([*first, *ordered, *last], began=began)


def backfill_content(tree: Tree, known: Known) -> bytes | None:
    """The event file of the path's run ``backfilled``; None where nothing has to be."""
    if not known.missing:
        return None
    batch = tree.plan.global_batch_size
    note = (
        f"These figures of {known.path.name} were read from what Megatron printed, since its event files do not hold "
        "them. They are rounded as printed. The loss of the second line after each start is left out: Megatron prints "
        "the mean since the start there. `lm loss mean` is the mean since the line before, where not every iteration "
        "was printed."
    )
    figures = list(_over_tokens(tree, known.missing))
    for tag, points in known.missing.items():
        for point in points:
            figures.append((point.step, scalar(tag, *point)))
            if _on_all_axes(tag):
                figures.append((point.step, scalar(tag + VS_SAMPLES, point.step * batch, point.value, point.time)))
    began = min(point.time for points in known.missing.values() for point in points)
    ordered = [event for _, event in sorted(figures, key=lambda figure: figure[0])]
    return encode([text(f"{TEXTS}backfilled", 0, note, began), *ordered], began=began)


def _on_all_axes(tag: str) -> bool:
    return tag in (RATE, LOSS, NORM) or (VALIDATION in tag and not tag.endswith(PERPLEXITY))


def _over_tokens(tree: Tree, points: Points) -> Iterator[tuple[int, Event]]:
    """(iteration, event) of the figures that have a shared axis."""
    # A plan's batch size never changes, so an iteration is always so many tokens.
    tokens = tree.plan.global_batch_size * tree.plan.sequence_length
    for tag, series in points.items():
        if _on_all_axes(tag):
            for point in series:
                yield point.step, scalar(tag + VS_TOKENS, point.step * tokens, point.value, point.time)


def _markers(tree: Tree, known: Known, parent: Known | None) -> Iterator[tuple[int, Event]]:
    """(iteration, event) of where something happened.

    A fork, a resume, a stop and an end are a tag each, on the learning rate's curve and on the loss's: TensorBoard
    smooths what has several points away from the curve. Saves are one tag, along the bottom of the learning rates.
    """
    found: dict[tuple[str, int], float] = {}
    plan = tree.plan
    for event in known.history:
        name, iteration, time = str(event.get("event")), event.get("iteration"), _time(event)
        if type(iteration) is not int or not 0 < iteration <= known.path.end:
            continue
        if name == "saved":
            found[name, iteration] = time
        elif name == "started" or name in _ENDS:
            what = _ENDS.get(name) or ("forked" if event.get("forked") is True else "resumed")
            found[what, iteration] = time
    forks = [fork for fork in tree.fork_points(known.path.name) if fork <= known.reached]
    found |= {("fork point", fork): known.times[1] for fork in forks}
    for (what, iteration), time in found.items():
        if what == "saved":
            yield iteration, scalar(f"{MARKERS}saved", iteration, plan.lr.min, time)
            continue
        source = parent if what == "forked" and parent is not None else known
        rate = source.path.schedule.lr(iteration * plan.global_batch_size, **lr_range(plan))
        yield iteration, scalar(f"{MARKERS}{what} at {iteration} {RATE}", iteration, rate, time)
        if (loss := source.losses.get(iteration)) is not None:
            yield iteration, scalar(f"{MARKERS}{what} at {iteration} {LOSS}", iteration, loss, time)


def _words(known: Known) -> Iterator[tuple[int, Event]]:
    """(iteration, event) of the history in words; what happened at one iteration is one text."""
    lines: dict[int, list[str]] = defaultdict(list)
    times: dict[int, float] = {}
    at = known.path.fork
    for entry in condense([dict(event) for event in known.history]):
        at = at if entry.iteration is None else entry.iteration
        lines[at].append(f"{entry.time or '-'} {entry}")
        times[at] = _time({"time": entry.last_time})
    for iteration, said in lines.items():
        yield (
            iteration,
            text(f"{TEXTS}events", iteration, table(("what happened",), [(line,) for line in said]), times[iteration]),
        )


def _time(event: Mapping[str, Any]) -> float:
    """Of a line of events.jsonl, in seconds since 1970; 0 where it has none."""
    time = event.get("time")
    return (seconds_of(time) if isinstance(time, str) else None) or 0.0


def _description(tree: Tree, known: Known) -> str:
    path, values = known.path, known.facts.values
    windows = ", ".join(window.version.name for window in tree.windows_of(path) if not window.adopted)
    rows = [
        ("version", path.version or "none"),
        ("paradigm", path.paradigm),
        ("parent", f"{path.parent}, forked at {path.fork:,}" if path.parent else path.origin),
        ("iterations", f"({path.fork:,}, {path.end:,}]"),
        ("learning rate", "; ".join(schedule_words(values)) or "-"),
        ("windows", f"{windows} ({path.order})"),
        ("layout", _flat(values.get("layout"))),
        ("precision", precision(tree)),
        ("libraries", _flat(values.get("libraries"))),
        *(("note", note) for note in known.facts.notes),
    ]
    return table(("", path.name), rows)


def _flat(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) if isinstance(values, Mapping) else "-"
