"""The figures that a path logged to TensorBoard, as plain numbers.

A run folder holds one event file per start of the job. Megatron's tags are ``lm loss``, ``learning-rate``,
``grad-norm`` and ``lm loss validation-<set>`` over iterations, and each again with `` vs samples`` over consumed
samples. At iteration i Megatron logs the learning rate of iteration i + 1.

The files are read here, not by TensorBoard's own loader: that takes seven times as long, minutes for a campaign of
60,000 iterations, and its EventAccumulator keeps the test loss and rewound iterations among the values.
"""

import contextlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.event_records import next_record
from megatron_lrps.monitor.start_order import StartOrder
from megatron_lrps.monitor.text_table import number_words

try:
    from tensorboard.compat.proto.event_pb2 import Event
except ImportError as error:
    raise RefusedError(f"tensorboard cannot be imported: {error}.", "install it: pip install tensorboard.") from None

VS_SAMPLES = " vs samples"
VALIDATION = " validation"

DERIVED = ".lrps"
"""The ending of event files that `lrps tensorboard` has derived: they are no record of what was logged."""

Series = list[tuple[int, float]]
Runs = Mapping[str, Mapping[str, Series]]
"""Path -> tag -> the series that it logged."""


class Point(NamedTuple):
    """A logged value: the step, the value, and when it was logged, in seconds since 1970."""

    step: int
    value: float
    time: float


def read_scalars(folder: Path, tag: str) -> Series:
    """Read (step, value) of one tag in a run folder, steps rising, each once; empty if nothing was logged.

    Args:
        folder: ``<save>/tensorboard/<path>``; need not exist.
        tag: E.g. ``lm loss``. Its steps are iterations, or consumed samples if it ends in ``vs samples``.

    Raises:
        RefusedError: An event file cannot be read.
    """
    return read_run(folder, [tag]).get(tag, [])


def read_run(folder: Path, wanted: Collection[str] | None = None) -> dict[str, Series]:
    """Read tag -> (step, value) pairs of a run folder in one pass.

    If one file holds a step several times, the first value counts: Megatron writes the test loss last, under
    the validation loss's tag. A later file replaces what earlier ones hold from its own first step on, because a
    restart retrains these iterations.

    Args:
        folder: ``<save>/tensorboard/<path>``; need not exist.
        wanted: The tags to return; all of them by default.

    Raises:
        RefusedError: An event file cannot be read.
    """
    run = read_points(folder, None if wanted is None else wanted.__contains__)
    return {tag: [(step, value) for step, value, _ in points] for tag, points in run.items()}


def read_points(
    folder: Path, wanted: Callable[[str], bool] | None = None, *, derived: bool = False
) -> dict[str, list[Point]]:
    """Read tag -> points of a run folder: the values with their times.

    Args:
        folder: ``<save>/tensorboard/<path>``; need not exist.
        wanted: Says whether a tag is to be returned; all are by default.
        derived: Read only the files that `lrps tensorboard` has derived.

    Raises:
        RefusedError: An event file cannot be read.
    """
    names = (file for file in folder.glob("events.out.tfevents.*") if (file.suffix == DERIVED) == derived)
    order = StartOrder(PathFolder(folder.parents[1] / "paths" / folder.name))
    return merged((_read_file(file, wanted) for file in sorted(names)), order)


def finite(series: Series) -> Series:
    """Return the values that are neither infinite nor NaN."""
    return [(step, value) for step, value in series if math.isfinite(value)]


def median_words(values: Sequence[float], digits: int, *, last: int | None = None) -> str | None:
    """Return the median of the finite values, and how many are not finite; None if there are no values.

    Args:
        values: The values in the order of their logging.
        digits: The number of digits after the point.
        last: Take only so many of the latest values.
    """
    taken = values if last is None else values[-last:]
    known = [value for value in taken if math.isfinite(value)]
    said = [number_words(median(known), digits)] if known else []
    if lost := len(taken) - len(known):
        said.append(f"{lost:,} of {'' if last is None else 'the last '}{len(taken):,} not finite")
    return ", ".join(said) or None


@dataclass
class JobStart:
    """The figures that one start of a job logged.

    Attributes:
        started: The time of the start, in seconds since 1970.
        points: Tag -> step -> point.
        trained_from: Over samples (True) or iterations (False) -> the first step of any training figure.
        validated_from: Tag -> the first step of the validation figure.
    """

    started: float = float("inf")
    points: dict[str, dict[int, Point]] = field(default_factory=dict)
    trained_from: dict[bool, int] = field(default_factory=dict)
    validated_from: dict[str, int] = field(default_factory=dict)

    def add(self, tag: str, point: Point, wanted: Callable[[str], bool] | None = None) -> None:
        """Add a point; if the step already has one of the tag, the first stays."""
        step = point.step
        if VALIDATION in tag:
            self.validated_from[tag] = min(step, self.validated_from.get(tag, step))
        else:
            by_samples = tag.endswith(VS_SAMPLES)
            self.trained_from[by_samples] = min(step, self.trained_from.get(by_samples, step))
        if wanted is None or wanted(tag):
            self.points.setdefault(tag, {}).setdefault(step, point)

    def replaces_from(self, tag: str) -> int | None:
        """Return the step from which this start replaces earlier values of ``tag``.

        A validation loss alone replaces no training loss: a job that is started again after its last iteration
        only validates there.
        """
        firsts = (self.trained_from.get(tag.endswith(VS_SAMPLES)), self.validated_from.get(tag))
        return min((first for first in firsts if first is not None), default=None)


def merged(starts: Iterable[JobStart], order: StartOrder) -> dict[str, list[Point]]:
    """Merge the points of a job's starts by tag, steps rising: a later start replaces what it trained again."""
    run: dict[str, dict[int, Point]] = {}
    # The names of event files give whole seconds only, and a job that fails at once is restarted within one.
    for start in sorted(starts, key=lambda start: order.place(start.started)):
        for tag in run:
            since = start.replaces_from(tag)
            if since is not None:
                run[tag] = {step: point for step, point in run[tag].items() if step < since}
        for tag, points in start.points.items():
            run.setdefault(tag, {}).update(points)
    return {tag: sorted(points.values()) for tag, points in run.items() if points}


def _read_file(path: Path, wanted: Callable[[str], bool] | None) -> JobStart:
    file = JobStart()
    try:
        for index, record in enumerate(_records(path)):
            event = Event.FromString(record)
            if index == 0:
                file.started = event.wall_time
            for value in event.summary.value:
                # Texts have no such field; Megatron writes its arguments as texts at the step it resumes from.
                if value.HasField("simple_value"):
                    file.add(value.tag, Point(event.step, value.simple_value, event.wall_time), wanted)
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}.", "make it readable, then rerun.") from None
    return file


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file without damaged ones; end silently if no whole one follows."""
    with path.open("rb") as stream, contextlib.suppress(EOFError):
        while True:
            if (record := next_record(stream)) is not None:
                yield record
