"""The figures that Megatron printed for a path, under TensorBoard's own tags, for gaps in its event files.

Written for ``training_log`` and ``evaluate_and_print_results`` of megatron-core 0.19. Figures that a line does not
give exactly are left out, or given another name:

- The loss of a line is the mean since the line before. The second line after a start is the mean from the start on,
  the first iteration included again, so its loss is left out; if lines are further apart than an iteration, theirs
  are ``lm loss mean``.
- The times of a start's first two lines hold the start-up.
- A line whose iteration was skipped, or gave no finite loss, prints a loss of 0.
- The last evaluation is printed again for the test set.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.monitor.scalars import JobStart, Point, merged
from megatron_lrps.monitor.start_order import StartOrder

LOSS = "lm loss"
MEAN_LOSS = "lm loss mean"
SECONDS, THROUGHPUT = "iteration-time", "throughput"

_STEP = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})\] +iteration +(\d{1,18})/ *\d+ \|(.*)")
_FIGURE = re.compile(r" ([^|]+?): +([-+.\w]+) \|")
_VALIDATION = re.compile(r" validation-(\S+) loss at iteration (\d{1,18})( on validation set)? \|(.*)")
_VALIDATED = re.compile(r" lm loss (value|PPL): (\S+) \|")
_BEGIN = re.compile(r"\[before the start of training step\] datetime: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{6})?)")
_WORLD = re.compile(r"\bworld_size \.{3,} (\d{1,9})\b")
_MILLISECONDS = "elapsed time per iteration (ms)"
_TAGS = {
    "learning rate": "learning-rate",
    "global batch size": "batch-size",
    "loss scale": "loss-scale",
    "grad norm": "grad-norm",
    "num zeros": "num-zeros",
    "params norm": "params-norm",
}
"""The name of a figure that belongs to the line's iteration alone -> TensorBoard's tag."""
_MEANS = {
    _MILLISECONDS: SECONDS,
    "throughput per GPU (TFLOP/s/GPU)": THROUGHPUT,
    "energy per GPU (J/iter/GPU)": "iter-energy/gpu",
    "power per GPU (W/GPU)": "power/gpu",
}
"""The name of a figure that is a mean since the line before -> TensorBoard's tag."""
_LOST = ("number of skipped iterations", "number of nan iterations")


@dataclass(frozen=True, kw_only=True)
class Printed:
    """All figures in a path's logs.

    Attributes:
        points: TensorBoard's tag -> points, steps rising; retrained iterations as they were trained last.
        left_out: Iterations whose printed loss is a mean with other iterations.
        rank_hours: Ranks times hours from the first printed iteration of each start to its last. Retrained iterations
            count; start-up and the time after the last line do not. None if a log does not say its number of ranks.
    """

    points: dict[str, list[Point]] = field(default_factory=dict)
    left_out: tuple[int, ...] = ()
    rank_hours: float | None = None


def read_printed(folder: Path) -> Printed:
    """Read the logs of a path.

    Args:
        folder: ``<save>/paths/<path>/logs``; need not exist.

    Raises:
        OSError: A log cannot be read.
    """
    starts: list[_Start] = []
    for log in sorted(folder.glob("*.log")):
        with log.open(encoding="utf-8", errors="replace") as lines:
            starts += _read(lines)
    hours = [start.rank_hours for start in starts]
    points = merged(starts, StartOrder(PathFolder(folder.parent)))
    own = {point.step for point in points.get(LOSS, [])}
    left_out = {step for start in starts for step in start.left_out} - own
    return Printed(
        points=points,
        left_out=tuple(sorted(left_out)),
        rank_hours=sum(each for each in hours if each is not None) if hours and None not in hours else None,
    )


@dataclass
class _Start(JobStart):
    """One start of a job, as its lines tell it; ``known`` if its first line is known to be the first."""

    known: bool = False
    ranks: int | None = None
    lines: int = 0
    before: int = 0
    seconds: float = 0.0
    now: float = 0.0
    left_out: list[int] = field(default_factory=list)

    @property
    def rank_hours(self) -> float | None:
        return None if self.ranks is None else self.seconds * self.ranks / 3600

    def step(self, iteration: int, time: float, found: dict[str, float]) -> None:
        """Take a progress line in."""
        first, second = self.lines == 0, self.lines == 1
        figures = {tag: found[name] for name, tag in _TAGS.items() if name in found}
        if first:
            self.started = min(time, self.started)
            self.seconds = found.get(_MILLISECONDS, 0.0) / 1000
        else:
            self.seconds += time - self.now
        if not first and not second:
            figures |= {
                tag: found[name] / (1000 if tag == SECONDS else 1) for name, tag in _MEANS.items() if name in found
            }
        for tag, value in figures.items():
            self.add(tag, Point(iteration, value, time))
        if LOSS in found and not any(found[name] for name in _LOST):
            apart = iteration - self.before
            if second or (first and not self.known):
                self.left_out.append(iteration)
            else:
                self.add(LOSS if first or apart == 1 else MEAN_LOSS, Point(iteration, found[LOSS], time))
        self.lines, self.before, self.now = self.lines + 1, iteration, time


def _read(lines: Iterable[str]) -> list[_Start]:
    """Return the starts in one log: a requeued job goes on in the log it had."""
    starts: list[_Start] = []
    now, ranks = _Start(), None
    for line in lines:
        if (begun := _BEGIN.search(line)) and (time := seconds_of(begun[1])) is not None:
            starts.append(now)
            now = _Start(started=time, now=time, known=True, ranks=ranks)
        elif " iteration " not in line:
            if world := _WORLD.search(line):
                ranks = int(world[1])
        elif (found := _STEP.search(line)) and (time := seconds_of(found[1])) is not None:
            figures = {name: value for name, text in _FIGURE.findall(found[3]) if (value := _number(text)) is not None}
            if not all(name in figures for name in _LOST):  # the line's last figures: a torn line has none
                continue
            if int(found[2]) <= now.before:  # its beginning is not in the log
                starts.append(now)
                now = _Start(ranks=ranks)
            now.step(int(found[2]), time, figures)
        elif found := _VALIDATION.search(line):
            for kind, text in _VALIDATED.findall(found[4]):
                if (value := _number(text)) is not None:
                    tag = f"{LOSS} validation-{found[1]}{' ppl' if kind == 'PPL' else ''}"
                    now.add(tag, Point(int(found[2]), value, now.now))
    return [start for start in [*starts, now] if start.points]


def seconds_of(time: str) -> float | None:
    """Convert an ISO time to seconds since 1970; None if it is not one.

    A time without a zone, as Megatron prints it, is taken to be in this machine's zone.
    """
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError, OSError):  # no such day; years that the system does not know
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
