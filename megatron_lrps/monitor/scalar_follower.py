"""The newest figures that a path logs to TensorBoard, read as they are written: each look reads only new ones.

``scalars.py`` reads whole runs. A campaign's files grow to hundreds of megabytes, so here only the end of the newest
one is read, and later what has been appended. Records carry checksums: torn or incomplete ones are left.
"""

import contextlib
import io
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tensorboard.compat.proto.event_pb2 import Event

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.monitor.event_records import HEADER, next_record
from megatron_lrps.monitor.scalars import DERIVED, Point
from megatron_lrps.monitor.start_order import StartOrder

TAIL_BYTES = 32 * 1024
"""The bytes of a file's end that the first look reads: some fifty iterations of Megatron's tags."""
PACE_OVER = 64
"""The pace is a mean over so many iterations at most."""
_LOSS, _RATE, _NORM = "lm loss", "learning-rate", "grad-norm"
_LONGEST = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures that a path logged last.

    Attributes:
        iteration: The last one with a loss.
        loss: In nats a token.
        next_lr: The learning rate of the iteration to come, as Megatron logs it; None if it is not logged.
        grad_norm: None if it is not logged.
        seconds: The mean time of an iteration by the clock, saves and evaluations included; None for a first iteration.
        logged_at: The time in seconds since 1970, by the clock of the node that trains.
    """

    iteration: int
    loss: float
    next_lr: float | None
    grad_norm: float | None
    seconds: float | None
    logged_at: float


class Follower:
    """The follower of a path's run folder.

    Args:
        folder: ``<save>/tensorboard/<path>``; need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _Growing] = {}
        self._record = PathFolder(folder.parents[1] / "paths" / folder.name)
        self._order, self._read = StartOrder(self._record), 0

    def look(self) -> Figures | None:
        """Return the newest figures; None if there are none. Raises OSError if a file cannot be read."""
        if self._folder.is_dir():
            for file in self._folder.iterdir():
                if file.name.startswith("events.out.tfevents.") and file.suffix != DERIVED:
                    self._files.setdefault(file.name, _Growing(file))
        with contextlib.suppress(OSError):
            if (size := self._record.events.stat().st_size) != self._read:
                self._order, self._read = StartOrder(self._record), size
        # A job that has just been restarted has logged nothing yet: the last job's figures still stand.
        for growing in sorted(self._files.values(), key=lambda each: self._order.place(each.started()), reverse=True):
            growing.read()
            if (figures := growing.figures()) is not None:
                return figures
        return None


class _Growing:
    """One event file, from near its end on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started: float | None = None
        self._forget()

    def _forget(self) -> None:
        self._at: int | None = None
        self._last: dict[str, Point] = {}
        self._losses: deque[Point] = deque(maxlen=PACE_OVER)

    def started(self) -> float:
        """Return when its first record was written: a file without one is the newest."""
        if self._started is None:
            try:
                with self._path.open("rb") as stream, contextlib.suppress(EOFError):
                    event = _event(stream)
                    self._started = None if event is None else event.wall_time
            except OSError:
                return 0.0
        return float("inf") if self._started is None else self._started

    def read(self) -> None:
        """Read what has been written since the last time."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if self._at is not None and size < self._at:  # another file of the same name
            self._forget()
        if size == self._at:
            return
        with self._path.open("rb") as stream:
            stream.seek(max(0, size - TAIL_BYTES) if self._at is None else self._at)
            begin = stream.tell()
            data = stream.read()
        whole, records = _first_record(data) if self._at is None and begin else 0, io.BytesIO(data)
        records.seek(whole)
        with contextlib.suppress(EOFError):
            while True:
                event, whole = _event(records), records.tell()
                if event is not None:
                    self._take(event)
        self._at = begin + whole

    def _take(self, event: Event) -> None:
        for value in event.summary.value:
            if value.tag in (_LOSS, _RATE, _NORM) and value.HasField("simple_value"):
                point = Point(event.step, value.simple_value, event.wall_time)
                self._last[value.tag] = point
                if value.tag == _LOSS:
                    self._losses.append(point)

    def figures(self) -> Figures | None:
        """Return the figures of the last iteration with a loss."""
        if not self._losses:
            return None
        first, last = self._losses[0], self._losses[-1]
        logged = {tag: point.value for tag, point in self._last.items()}
        passed = last.step - first.step
        return Figures(
            iteration=last.step,
            loss=last.value,
            next_lr=logged.get(_RATE),
            grad_norm=logged.get(_NORM),
            seconds=(last.time - first.time) / passed if passed > 0 else None,
            logged_at=last.time,
        )


def _event(stream: BinaryIO) -> Event | None:
    """Return the event at the stream's position, or None if it is damaged; raises EOFError as records do."""
    record = next_record(stream)
    return None if record is None else Event.FromString(record)


def _first_record(data: bytes) -> int:
    """Return the place of the first whole record in a piece of a file; its length if there is none."""
    stream = io.BytesIO(data)
    for at in range(len(data) - HEADER):
        # A length above any record's is told apart without its checksum, as nearly all are.
        if int.from_bytes(data[at : at + 8], "little") < _LONGEST:
            stream.seek(at)
            with contextlib.suppress(EOFError):
                if next_record(stream) is not None:
                    return at
    return len(data)


def fingerprint(*files: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return sizes and change times of files or folders, which differ once one has changed; None for a missing one."""
    return tuple(_seen(file) for file in files)


def _seen(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
