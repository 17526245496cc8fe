"""The processes that train a path on this machine: torchrun and its ranks, and the log that they share.

torchrun forwards only SIGTERM, and gives every rank its own session. The ranks are therefore found through
``/proc`` (Linux): a process belongs to a path if its standard output or error is a log of that path.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from megatron_lrps.errors import LrpsError, StorageError
from megatron_lrps.processes import PARENT

_PROC = Path("/proc")
_KILL_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class _Process:
    """A live process that writes a log; a zombie has no open files, so it does not count."""

    pid: int
    parent: int
    session: int


def writers(logs: Iterable[Path]) -> list[int]:
    """Return the ids, rising, of live processes with one of these files as standard output or error."""
    files = set()
    for log in logs:
        with contextlib.suppress(OSError):
            files.add(_identity(log.stat()))
    return sorted(process.pid for process in _writers(files))


def _writers(files: set[tuple[int, int]]) -> list[_Process]:
    found = []
    for entry in _PROC.iterdir() if files else ():
        # A process may end meanwhile, and processes of other users may not be read: neither trains the path.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and any(_writes(entry / "fd" / number, files) for number in ("1", "2")):
                # "pid (name) state ppid pgrp session ...": the name may hold spaces and parentheses.
                _, parent, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                found.append(_Process(pid=int(entry.name), parent=int(parent), session=int(session)))
    return found


def _writes(descriptor: Path, files: set[tuple[int, int]]) -> bool:
    try:
        return _identity(descriptor.stat()) in files
    except OSError:
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def open_log(folder: Path) -> tuple[Path, BinaryIO]:
    """Create a new log ``<UTC time>.log`` in a folder, never overwriting another; raises StorageError."""
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        for twin in range(1000):
            path = folder / (f"{name}-{twin}.log" if twin else f"{name}.log")
            with contextlib.suppress(FileExistsError):
                # O_APPEND, so that the ranks append whole lines to the one file instead of overwriting each other.
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
                return path, os.fdopen(descriptor, "wb")
    except OSError as error:
        raise StorageError(
            f"No log could be written in {folder}: {error.strerror}.", "make room, then rerun."
        ) from None
    raise StorageError(f"{folder} has a thousand logs of {name}.", "find out what starts the path so often.")


class RankGroup:
    """torchrun and its ranks, all of which die with this process (see ``megatron_lrps.processes``).

    Args:
        launcher: torchrun's module, or one like it, with its options.
        module: The module that the ranks run.
        arguments: The command line of the module.
        env: Variables to add to this process's environment.
        logs: The folder for their log.
    """

    def __init__(
        self, launcher: Sequence[str], module: str, arguments: Sequence[str], *, env: dict[str, str], logs: Path
    ) -> None:
        tied = ("-m", "megatron_lrps.processes")
        self.log, output = open_log(logs)
        with output:
            # Asked now: the log's folder may be gone when the processes that write it are to be killed.
            self._files = {_identity(os.fstat(output.fileno()))}
            self._torchrun = subprocess.Popen(
                [sys.executable, *tied, *launcher, *tied, module, *arguments],
                env={**os.environ, **env, PARENT: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal must not reach torchrun, which would end the ranks before they have saved.
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether torchrun has not ended yet."""
        return self._torchrun.poll() is None

    @property
    def pid(self) -> int:
        """torchrun's process id."""
        return self._torchrun.pid

    def ranks(self) -> list[int]:
        """The process ids of the live ranks."""
        # A rank leads its own session; the helper processes of torchrun do not.
        return [p.pid for p in _writers(self._files) if p.parent == self.pid and p.session == p.pid]

    def numbered_ranks(self) -> list[tuple[int, int]]:
        """The number and the process id of each live rank, by number."""
        found = []
        for pid in self.ranks():
            with contextlib.suppress(OSError):
                variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
                number = next((each[5:] for each in variables if each.startswith(b"RANK=")), b"")
                if number.isdigit():
                    found.append((int(number), pid))
        return sorted(found)

    def signal_ranks(self, number: signal.Signals) -> int:
        """Send a signal to every rank; returns the number of ranks."""
        ranks = self.ranks()
        for pid in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(ranks)

    def kill(self) -> None:
        """Kill torchrun, the ranks and their child processes at once; returns when none is left.

        Raises:
            LrpsError: naming processes that outlived SIGKILL, usually because they wait on a dead disk or device.
        """
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        self._torchrun.kill()  # and with it the ranks, even if a dead file system does not say who writes its files
        while left := [process.pid for process in _writers(self._files)]:
            if time.monotonic() > deadline:
                raise LrpsError(
                    f"Processes {', '.join(map(str, left))} do not end on SIGKILL, and a path has one writer.",
                    "find out what they wait on (a file system, a GPU) and end them before you rerun.",
                )
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._torchrun.wait()
