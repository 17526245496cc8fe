"""The derived event files of one path: figures over tokens, markers, history, HParams; and its backfill."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event

from megatron_lrps.campaign.history import condense
from megatron_lrps.campaign.lineage import schedule_words
from megatron_lrps.monitor.printed_figures import LOSS
from megatron_lrps.monitor.scalars import VS_SAMPLES
from megatron_lrps.monitor.tensorboard.event_file import TEXTS, encode, markdown_table, scalar, text
from megatron_lrps.monitor.tensorboard.hparams import Hparams, precision, session_begin, session_end
from megatron_lrps.monitor.tensorboard.known import RATE, VS_TOKENS, Known, Points, on_all_axes, time_of
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.flags import lr_range

MARKERS = "markers/"
_ENDS = {"stopped": "stopped", "done": "ended"}
"""The word of events.jsonl -> the marker's."""


def path_content(
    tree: Tree, known: Known, parent: Known | None, *, hparams: Hparams | None, metrics: Mapping[str, float]
) -> bytes:
    """Return the derived event file in the path's own run folder.

    Args:
        tree: The plan's tree.
        known: The facts of the path, which has begun.
        parent: The facts of its parent.
        hparams: Its version's settings; None if it gives no version.
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
    figures = [*_over_tokens(tree, known.path, known.logged), *pace, *_markers(tree, known, parent), *_words(known)]
    ordered = [event for _, event in sorted(figures, key=lambda figure: figure[0])]
    return encode([*first, *ordered, *last], began=began)


def backfill_content(tree: Tree, known: Known) -> bytes | None:
    """Return the event file of the path's run ``backfilled``; None if nothing is missing."""
    if not known.missing:
        return None
    batches = tree.batches
    note = (
        f"These figures of {known.path.name} were read from what Megatron printed, since its event files do not hold "
        "them. They are rounded as printed. The loss of the second line after each start is left out: Megatron prints "
        "the mean since the start there. `lm loss mean` is the mean since the line before, where not every iteration "
        "was printed."
    )
    figures = list(_over_tokens(tree, known.path, known.missing))
    for tag, points in known.missing.items():
        for point in points:
            figures.append((point.step, scalar(tag, *point)))
            if on_all_axes(tag):
                figures.append(
                    (point.step, scalar(tag + VS_SAMPLES, batches.samples(point.step), point.value, point.time))
                )
    began = min(point.time for points in known.missing.values() for point in points)
    ordered = [event for _, event in sorted(figures, key=lambda figure: figure[0])]
    return encode([text(f"{TEXTS}backfilled", 0, note, began), *ordered], began=began)


def _over_tokens(tree: Tree, path: PlannedPath, points: Points) -> Iterator[tuple[int, Event]]:
    """Yield (iteration, event) of the figures over tokens."""
    for tag, series in points.items():
        if on_all_axes(tag):
            for point in series:
                yield point.step, scalar(tag + VS_TOKENS, tree.tokens(path, point.step), point.value, point.time)


def _markers(tree: Tree, known: Known, parent: Known | None) -> Iterator[tuple[int, Event]]:
    """Yield (iteration, event) of markers.

    Each fork, resume, stop and end has a tag of its own, on the learning rate's curve and on the loss's: TensorBoard
    smooths a tag of several points away from the curve. Saves are one tag, along the bottom of the learning rates.
    """
    found: dict[tuple[str, int], float] = {}
    plan = tree.plan
    for event in known.history:
        name, iteration, time = str(event.get("event")), event.get("iteration"), time_of(event)
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
        rate = source.path.schedule.lr(tree.batches.samples(iteration), **lr_range(plan))
        yield iteration, scalar(f"{MARKERS}{what} at {iteration} {RATE}", iteration, rate, time)
        if (loss := source.losses.get(iteration)) is not None:
            yield iteration, scalar(f"{MARKERS}{what} at {iteration} {LOSS}", iteration, loss, time)


def _words(known: Known) -> Iterator[tuple[int, Event]]:
    """Yield (iteration, event) of the history in words; all that happened at one iteration is one text."""
    lines: dict[int, list[str]] = defaultdict(list)
    times: dict[int, float] = {}
    at = known.path.fork
    for entry in condense([dict(event) for event in known.history]):
        at = at if entry.iteration is None else entry.iteration
        lines[at].append(f"{entry.time or '-'} {entry}")
        times[at] = time_of({"time": entry.last_time})
    for iteration, said in lines.items():
        happened = markdown_table(("what happened",), [(line,) for line in said])
        yield iteration, text(f"{TEXTS}events", iteration, happened, times[iteration])


def _description(tree: Tree, known: Known) -> str:
    path, values = known.path, known.facts.values
    windows = ", ".join(window.version.name for window in tree.data_windows(path) if not window.adopted)
    blend = ", ".join(f"{weight:g} {prefix.name}" for weight, prefix in path.blend)
    rows = [
        ("version", path.version or "none"),
        ("paradigm", path.paradigm),
        ("parent", f"{path.parent}, forked at {path.fork:,}" if path.parent else path.origin),
        ("iterations", f"({path.fork:,}, {path.end:,}]"),
        ("learning rate", "; ".join(schedule_words(values)) or "-"),
        ("windows", f"{windows} ({'chained, by main' if blend else path.order})"),
        *([("blend", blend)] if blend else []),
        ("layout", _flat(values.get("layout"))),
        ("precision", precision(tree)),
        ("libraries", _flat(values.get("libraries"))),
        *(("note", note) for note in known.facts.notes),
    ]
    return markdown_table(("", path.name), rows)


def _flat(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) if isinstance(values, Mapping) else "-"
