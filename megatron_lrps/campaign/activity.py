"""What a path's job is doing besides training: ``<path>/doing.json``, which its first rank rewrites.

The file is for display only; no decision depends on it. It is valid only while the job that wrote it holds the path,
so leftovers of a killed job are ignored. It is not synced to disk, since nobody needs it after a crash.
"""

import contextlib
import json
import os
import re
import statistics
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.storage.files import read_json
from megatron_lrps.storage.owner import Owner

FILE = "doing.json"
EXECUTOR = ".executor"
"""The file in a path's ``logs`` that ``lrps run`` locks while it trains the path."""
EVERY_S = 1.0
"""The minimum time between two counts written within an evaluation, in seconds."""
PULSE_S = 5.0
"""The time between two writes of the iteration while training, in seconds."""
_RECENT = 65

What = Literal["starting", "reading", "loading", "training", "evaluating", "saving", "finishing"]
WORDS: dict[What, str] = {
    "starting": "starting",
    "reading": "reading data",
    "loading": "loading a checkpoint",
    "training": "training",
    "evaluating": "evaluating",
    "saving": "saving",
    "finishing": "hashing what it saved",
}
"""Activity -> its words for people."""


@dataclass(frozen=True, kw_only=True)
class Doing:
    """A job's current activity.

    Attributes:
        what: The activity, in one word.
        since: When it began, in seconds since 1970 by its node's clock; None if unknown.
        name: The validation set that it evaluates on.
        done: The number of its iterations that are done.
        total: The number of iterations in all; for a checkpoint, its iteration.
        at: When it last made progress, in seconds since 1970 by its node's clock; None if unknown.
        iteration: The last iteration of training that has ended since the job started; None if none has.
        median: The median time of the latest iterations in seconds; None before the second one.
    """

    what: What
    since: float | None = None
    name: str | None = None
    done: int | None = None
    total: int | None = None
    at: float | None = None
    iteration: int | None = None
    median: float | None = None

    def __str__(self) -> str:
        words = WORDS[self.what]
        if self.name is not None:
            words += f" {self.name}"
        if self.done is not None and self.total is not None:
            words += f" ({self.done:,} of {self.total:,})"
        elif self.total is not None:
            words += f" at {self.total:,}"
        return words

    def to_json(self) -> dict[str, Any]:
        """Return the activity as ``lrps status --json`` prints it."""
        words = {"what": self.what, "name": self.name, "done": self.done, "total": self.total, "since": self.since}
        return {**words, "at": self.at, "iteration": self.iteration, "median": self.median}


class Teller:
    """Writes the activity of the job that holds a path.

    Args:
        folder: The path's folder.
        token: The token of the job's ownership of the path.
    """

    def __init__(self, folder: PathFolder, token: str) -> None:
        self._file, self._token = folder.root / FILE, token
        self._doing: Doing | None = None
        self._written = -EVERY_S
        self._ended: deque[tuple[int, float]] = deque(maxlen=_RECENT)
        self._writing = threading.Lock()

    def pulse(self, every: float = PULSE_S) -> None:
        """Write from now on, in a thread, which iteration has ended; at most once in so many seconds."""

        def beat() -> None:
            pause, written = threading.Event(), 0.0
            while not pause.wait(every):
                if self._ended and (at := self._ended[-1][1]) != written:
                    with self._writing:
                        if self._doing is not None:
                            self._write(self._doing)
                    written = at

        threading.Thread(target=beat, name="lrps-activity", daemon=True).start()

    def iterated(self, iteration: int) -> None:
        """Note that an iteration of training has ended, in less than a microsecond; ``pulse`` writes it."""
        self._ended.append((iteration, time.time()))

    def tell(self, what: What, *, name: str | None = None, done: int | None = None, total: int | None = None) -> None:
        """Write what the job does from now on; skip a new count of the same activity within a second."""
        before, now = self._doing, time.monotonic()
        same = before is not None and (before.what, before.name) == (what, name)
        if same and now - self._written < EVERY_S:
            return
        since, at = before.since if before is not None and same else None, time.time()
        with self._writing:
            self._doing = Doing(what=what, since=since or at, name=name, done=done, total=total, at=at)
            self._written = now
            self._write(self._doing)

    def _write(self, doing: Doing) -> None:
        ended = list(self._ended)
        times = [after[1] - before[1] for before, after in pairwise(ended)]
        if ended:
            at = max(doing.at or 0.0, ended[-1][1])
            median = statistics.median(times) if times else None
            doing = replace(doing, at=at, iteration=ended[-1][0], median=median)
        temporary = self._file.with_name(f".{FILE}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # training goes on even if this cannot be written
            temporary.write_text(json.dumps({"token": self._token, **doing.to_json()}), encoding="utf-8")
            temporary.replace(self._file)


def doing_of(folder: PathFolder, owner: Owner | None) -> Doing | None:
    """Return what the holder of a path reports doing; None if nobody holds it.

    Args:
        folder: The path's folder.
        owner: The job that holds it, from ``ownership.holder``.
    """
    if owner is None:
        return None
    found = read_json(folder.root / FILE)
    what = (found or {}).get("what")
    if found is None or not owner.token or found.get("token") != owner.token or what not in list(WORDS):
        return None
    name = found.get("name")
    counts = ("done", "total", "iteration")
    count = {key: value if type(value := found.get(key)) is int and value >= 0 else None for key in counts}
    times = {key: value if isinstance(value := found.get(key), float) else None for key in ("since", "at", "median")}
    return Doing(
        what=what,
        since=times["since"],
        at=times["at"],
        median=times["median"],
        name=name if isinstance(name, str) and name.isprintable() else None,
        **count,
    )


def starts(folder: PathFolder, locks: Path = Path("/proc/locks")) -> bool:
    """Whether ``lrps run`` on this machine has taken the path and its ranks are still starting.

    The lock is looked up in the kernel's list: trying it would refuse a run that starts at that moment.
    """
    try:
        status = (folder.logs / EXECUTOR).stat()
        with contextlib.suppress(FileNotFoundError):
            if folder.events.stat().st_mtime_ns > status.st_mtime_ns:  # the ranks have ended, the executor soon will
                return False
        held = re.findall(r": FLOCK .* ([0-9a-f]+):([0-9a-f]+):(\d+) ", locks.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        return False
    device, inode = status.st_dev, status.st_ino
    return any((int(a, 16), int(b, 16), int(c)) == (os.major(device), os.minor(device), inode) for a, b, c in held)
