"""One progress display for a campaign: bars on a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.launch.local.rank_output import Step
from megatron_lrps.plan import PlannedPath

_LINE_EVERY_S = 10.0
_LONG_S = 5.0
"""The minimum duration of an activity besides training that gets a line, in seconds."""


class RemainingWork:
    """The iterations left of every path, and the time that they will take.

    Args:
        position: The current iteration of each path.
        ends: The last iteration of each path.
    """

    def __init__(self, position: dict[str, int], ends: dict[str, int]) -> None:
        self._position = dict(position)
        self._ends = ends
        self._pace: float | None = None
        self._since: tuple[int, float] | None = None

    def start(self, name: str, iteration: int) -> None:
        """Start or continue a path after ``iteration``; the previous path's pace is its first estimate."""
        self._position[name] = iteration
        self._since = None

    def step(self, name: str, step: Step, now: float) -> None:
        """Record a path's step at ``now``, in seconds of a monotonic clock."""
        self._position[name] = step.iteration
        if self._since is None:
            # The time in the first line includes start-up work, but it is better than nothing.
            self._since = (step.iteration, now)
            self._pace = self._pace or step.seconds
        elif step.iteration > self._since[0] and now > self._since[1]:
            # Measured by the clock, because Megatron's figure leaves out saving and evaluating.
            self._pace = (now - self._since[1]) / (step.iteration - self._since[0])

    def position(self, name: str) -> int:
        """Return the current iteration of a path."""
        return self._position[name]

    def left(self, name: str | None = None) -> int:
        """Return the iterations left of a path, or of all paths."""
        return sum(max(0, self._ends[each] - self._position[each]) for each in ([name] if name else self._ends))

    def time_left(self, name: str | None = None) -> str:
        """Return the time left of a path, or of all paths, at the current pace; ``?`` if there is none yet."""
        return "?" if self._pace is None and self.left(name) else duration((self._pace or 0.0) * self.left(name))


def duration(seconds: float) -> str:
    """Return a duration in words: ``45 s``, ``12 min``, ``3.4 h``, ``2.1 days``."""
    for unit, size, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= (size if digits else 2 * size):
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


class Display(Protocol):
    """Shows a campaign's progress; entered before the first path and left after the last."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def start(self, name: str, iteration: int) -> None:
        """Show that a path starts or continues after ``iteration``."""

    def step(self, name: str, step: Step) -> None:
        """Show a path's progress."""

    def tell(self, name: str, doing: Doing) -> None:
        """Show what a path's ranks do besides training."""

    def finish(self, name: str) -> None:
        """Show that a path is trained to its end."""

    def say(self, text: str) -> None:
        """Print a line for the user."""


def make_display(paths: Sequence[PlannedPath], position: dict[str, int]) -> Display:
    """Return a display with bars if standard output is a terminal, else with lines.

    Args:
        paths: The paths to show, in order.
        position: The current iteration of each path.
    """
    # A mean of checkpoints trains nothing.
    position = position | {path.name: path.end for path in paths if path.mean}
    work = RemainingWork(position, {path.name: path.end for path in paths})
    return BarDisplay(paths, work) if sys.stdout.isatty() else LineDisplay(paths, work)


def silence() -> None:
    """Discard all further output, because the terminal or pipe that read it is gone.

    Training must not end for that reason: in ``lrps run PLAN | tee log`` the Ctrl-C that asks the ranks to save also
    ends tee.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


class LineDisplay:
    """Plain lines for logs and pipes: each start and end, and a step about every ten seconds."""

    def __init__(self, paths: Sequence[PlannedPath], work: RemainingWork) -> None:
        self._work = work
        self._ends = {path.name: path.end for path in paths}
        self._means = {path.name: path.mean_words for path in paths if path.mean}
        self._last = -_LINE_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self, name: str, iteration: int) -> None:
        """Show that a path starts or continues."""
        self._last = time.monotonic()
        if name in self._means:
            self.say(f"{name}: making {self._means[name]}")
            return
        self._work.start(name, iteration)
        self.say(f"{name}: training ({iteration}, {self._ends[name]}]; {self._work.left()} iterations left in all")

    def step(self, name: str, step: Step) -> None:
        """Show a path's progress."""
        now = time.monotonic()
        self._work.step(name, step, now)
        if now - self._last >= _LINE_EVERY_S:
            self._last = now
            work = self._work
            self.say(
                f"{name}: iteration {step.iteration}/{self._ends[name]}, loss {loss_text(step)}, next lr "
                f"{lr_text(step)}, {work.time_left(name)} left; in all {work.left()} iterations, "
                f"{work.time_left()}"
            )

    def tell(self, name: str, doing: Doing) -> None:
        """Show what a path's ranks do besides training."""
        now, lasts = time.monotonic(), time.time() - (doing.since or 0.0)
        if now - self._last >= _LINE_EVERY_S and lasts >= _LONG_S:
            self._last = now
            self.say(f"{name}: {doing_text(doing)}")

    def finish(self, name: str) -> None:
        """Show that a path is trained to its end."""
        if name in self._means:
            self.say(f"{name}: made, {self._means[name]}")
            return
        self._work.start(name, self._ends[name])
        self.say(f"{name}: trained to iteration {self._ends[name]}; {self._work.left()} iterations left in all")

    def say(self, text: str) -> None:
        """Print a line for the user."""
        try:
            print(text, flush=True)
        except OSError:
            silence()


class BarDisplay:
    """A bar per path, and one for all."""

    def __init__(self, paths: Sequence[PlannedPath], work: RemainingWork, console: Console | None = None) -> None:
        self._work = work
        self._paths = {path.name: path for path in paths}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[place]}", justify="right"),
            TextColumn("{task.fields[facts]}"),
            TextColumn("{task.fields[left]}", justify="right"),
            console=console,
        )
        # If the terminal has no room for all paths, only those that train and the sum are shown.
        self._crowded = len(paths) + 3 > self._progress.console.height
        self._bars: dict[str, TaskID] = {
            path.name: self._progress.add_task(
                path.name, total=path.iterations, visible=not self._crowded, place="", facts="", left=""
            )
            for path in paths
        }
        total = sum(path.iterations for path in paths)
        self._all = self._progress.add_task("in all", total=total, place="", facts="", left="")
        for name in self._paths:
            self._draw(name, "" if work.left(name) or self._paths[name].mean else "trained")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._progress.stop()

    def start(self, name: str, iteration: int) -> None:
        """Show that a path starts or continues."""
        if not self._paths[name].mean:
            self._work.start(name, iteration)
        self._progress.update(self._bars[name], visible=True)
        self._draw(name, f"making {self._paths[name].mean_words}" if self._paths[name].mean else "starting")

    def step(self, name: str, step: Step) -> None:
        """Show a path's progress."""
        self._work.step(name, step, time.monotonic())
        self._draw(name, f"loss {loss_text(step)}  next lr {lr_text(step)}")

    def tell(self, name: str, doing: Doing) -> None:
        """Show what a path's ranks do besides training."""
        self._draw(name, doing_text(doing))

    def finish(self, name: str) -> None:
        """Show that a path is trained to its end."""
        self._work.start(name, self._paths[name].end)
        self._progress.update(self._bars[name], visible=not self._crowded)
        self._draw(name, f"made, {self._paths[name].mean_words}" if self._paths[name].mean else "trained")

    def say(self, text: str) -> None:
        """Print a line for the user, above the bars."""
        try:
            self._progress.console.print(text, markup=False, highlight=False)
        except OSError:
            silence()

    def _draw(self, name: str, facts: str) -> None:
        path, work = self._paths[name], self._work
        place = work.position(name)
        self._progress.update(
            self._bars[name],
            completed=min(place - path.fork, path.iterations),
            place="" if path.mean else f"{place}/{path.end}",
            facts=facts,
            left=work.time_left(name) if 0 < work.left(name) < path.iterations else "",
        )
        total, left = sum(each.iterations for each in self._paths.values()), work.left()
        self._progress.update(self._all, completed=total - left, place=f"{left} left", left=work.time_left())


def doing_text(doing: Doing) -> str:
    """Return what the ranks do, and for how long."""
    return str(doing) if doing.since is None else f"{doing}, for {duration(max(0.0, time.time() - doing.since))}"


def loss_text(step: Step) -> str:
    """Return the loss of a step, or ``-`` if there is none."""
    return "-" if step.loss is None else f"{step.loss:.4f}"


def lr_text(step: Step) -> str:
    """Return the learning rate of the next iteration, or ``-`` if it is not logged."""
    return "-" if step.next_lr is None else f"{step.next_lr:.3e}"
