"""Sends figures to a tracker from a thread of its own: training never waits for it, and no failure of it ends a run."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

PAUSE_S = 5.0
"""The seconds between two batches."""
_RETRY_S = 60.0
_MOST = 500_000
"""The most figures that wait for a tracker that cannot be reached: the oldest ones are dropped."""


class Figure(NamedTuple):
    """A figure of an iteration.

    Attributes:
        name: Its name in TensorBoard.
        value: The figure.
        step: The iteration.
        at: The time in seconds since 1970.
    """

    name: str
    value: float
    step: int
    at: float


class Tracker(Protocol):
    """A service that gets figures. Each method may take long, and raise anything."""

    label: str

    def open(self) -> None:
        """Connect, and find the run or make it."""

    def send(self, figures: Sequence[Figure]) -> None:
        """Add figures to the run."""

    def alert(self, kind: str, title: str, text: str) -> None:
        """Tell the run's owners of an alert of a kind, such as ``stall``."""

    def close(self, state: str) -> None:
        """End this start of the run: ``finished``, ``stopped`` or ``failed``."""


class Sender:
    """The thread of one tracker.

    Args:
        tracker: The tracker.
        say: Prints a line.
        pause: The seconds between two batches.
        retry: The seconds before another attempt after a failure.
    """

    def __init__(
        self, tracker: Tracker, say: Callable[[str], None], *, pause: float = PAUSE_S, retry: float = _RETRY_S
    ) -> None:
        self._tracker, self._say, self._pause, self._retry = tracker, say, pause, retry
        self._figures: deque[Figure] = deque(maxlen=_MOST)
        self._alerts: deque[tuple[str, str, str]] = deque(maxlen=100)
        self._woken, self._state = threading.Event(), ""
        self._open = self._failing = False
        # A service that does not answer must not keep the process.
        self._thread = threading.Thread(target=self._work, name=f"tracker {tracker.label}", daemon=True)
        self._thread.start()

    def add(self, figure: Figure) -> None:
        """Queue a figure."""
        self._figures.append(figure)

    def alert(self, kind: str, title: str, text: str) -> None:
        """Queue an alert; it is sent at once."""
        self._alerts.append((kind, title, text))
        self._woken.set()

    def end(self, state: str) -> None:
        """Let the thread send what is queued, and close the run in this state."""
        self._state = state
        self._woken.set()

    def settle(self, seconds: float) -> None:
        """Wait until it has ended, but at most so many seconds; what was not sent by then is told."""
        self._thread.join(seconds)
        if self._thread.is_alive() or self._figures:
            left = f"{len(self._figures):,} figures were not sent" if self._figures else "it did not end in time"
            self._say(f"{self._tracker.label}: {left}; TensorBoard has all figures")

    def _work(self) -> None:
        while True:
            self._woken.wait(self._retry if self._failing else self._pause)
            self._woken.clear()  # before the state is read, or an end in between would wake nobody
            state = self._state
            try:
                self._send()
                if state:
                    self._tracker.close(state)
            except Exception as error:
                self._failed(error)
            else:
                self._failing = False
            if state:
                return

    def _send(self) -> None:
        if not self._open:
            self._tracker.open()
            self._open = True
        while self._alerts:
            self._tracker.alert(*self._alerts[0])
            self._alerts.popleft()
        while self._figures:
            batch = [self._figures.popleft() for _ in range(min(len(self._figures), 1000))]
            try:
                self._tracker.send(batch)
            except Exception:
                self._figures.extendleft(reversed(batch))
                raise

    def _failed(self, error: BaseException) -> None:
        if not self._failing:
            words: Any = str(error).strip().splitlines() or [type(error).__name__]
            self._say(
                f"{self._tracker.label} could not be reached: {words[0]}. Training goes on, and so do attempts every "
                f"{self._retry:.0f} s"
            )
        self._failing = True


def figure(name: str, value: Any, step: Any) -> Figure | None:
    """Return a scalar of TensorBoard as a figure of its iteration; None if it is none.

    Megatron writes most of its scalars a second time by samples (``lm loss vs samples``).
    """
    if name.endswith(" vs samples") or name == "samples vs steps" or step is None:
        return None
    return Figure(name, float(value), int(step), time.time())
