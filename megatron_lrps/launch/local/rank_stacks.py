"""Where the ranks on this machine are: their stacks, which they print to their log on ``STACKS_SIGNAL``.

A rank that cannot, such as one that a signal has stopped, is read by py-spy if that is installed.
"""

import contextlib
import linecache
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.processes import STACKS_SIGNAL

_ANSWER_S = 5.0
_QUIET_S = 0.2
_INNERMOST = 6
_PY_SPY_S = 20.0
_SPIED = re.compile(r"    (?P<name>.+) \((?P<file>.+?)(?::(?P<line>\d+))?\)")
_FRAME = re.compile(r'  File "(?P<file>[^"]*)", line (?P<line>\d+|\?\?\?) in (?P<name>.*)')
_WAITS = ("torch/distributed/", "pipeline_parallel/p2p_communication.py")
"""Files of functions in which a rank waits for others."""
_COUNTED_WAIT = ("training/megatron/rank_pace.py", "counted")
"""The end of the file, and the function, that counts the time of such a wait around it."""
_STATES = {
    "T": "is stopped by a signal",
    "t": "is stopped by a debugger",
    "D": "waits for a disk or a device",
    "Z": "is dead",
}


@dataclass(frozen=True, kw_only=True)
class RankPlace:
    """Where a rank is.

    Attributes:
        rank: Its number.
        pid: Its process id.
        state: The state of its process, as the kernel says it: ``S``, ``R``, ``T``, ``D``.
        frames: The functions that its main thread is in as (file, line, name), the innermost first; none if it gave no
            answer.
    """

    rank: int
    pid: int
    state: str
    frames: tuple[tuple[str, str, str], ...]

    @property
    def waits(self) -> bool:
        """Whether it waits for other ranks in a collective."""
        innermost = [file for file, _, _ in self.frames[:_INNERMOST]]
        waits = any(name in file for file in innermost for name in _WAITS) or _waits_for_work(self.frames[:1])
        waits |= any(file.endswith(_COUNTED_WAIT[0]) and name == _COUNTED_WAIT[1] for file, _, name in self.frames[:1])
        return self.state not in _STATES and waits

    def __str__(self) -> str:
        words = f"rank {self.rank} (process {self.pid})"
        if self.state in _STATES:
            return f"{words} {_STATES[self.state]}" + (f", in {self.frames[0][2]}" if self.frames else "")
        if not self.frames:
            return f"{words} does not say where it is"
        file, line, name = self.frames[0]
        return f"{words} is in {name} ({'/'.join(Path(file).parts[-2:])}:{line})"


def dump(log: Path, ranks: Sequence[tuple[int, int]]) -> list[RankPlace]:
    """Let the ranks print the stacks of all their threads to their log, one after the other, and return where they are.

    Args:
        log: The log that they print to.
        ranks: The number and the process id of each rank.
    """
    return [_ask(log, rank, pid) for rank, pid in ranks]


def not_in_the_collective(places: Sequence[RankPlace]) -> list[RankPlace]:
    """Return the ranks that are in no collective, and so keep the others waiting; stopped ones come first."""
    return sorted((place for place in places if not place.waits), key=lambda place: place.state not in _STATES)


def _waits_for_work(innermost: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a rank waits for a collective that it has begun before: no function of torch's is on its stack then."""
    return any(
        "megatron/core/" in file and line.isdecimal() and ".wait()" in linecache.getline(file, int(line))
        for file, line, _ in innermost
    )


def _ask(log: Path, rank: int, pid: int) -> RankPlace:
    state = _state(pid)
    with log.open("ab") as file:
        file.write(f"lrps: the stacks of rank {rank} (process {pid}, state {state}):\n".encode())
    begin = log.stat().st_size
    if state in _STATES:
        return RankPlace(rank=rank, pid=pid, state=state, frames=_spied(log, pid))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, STACKS_SIGNAL)
    size, end, quiet = begin, time.monotonic() + _ANSWER_S, 0.0
    while time.monotonic() < end and quiet < _QUIET_S:
        time.sleep(0.05)
        grown = log.stat().st_size
        quiet = quiet + 0.05 if grown == size > begin else 0.0
        size = grown
    with log.open("rb") as file:
        file.seek(begin)
        text = file.read(size - begin).decode(errors="replace")
    return RankPlace(rank=rank, pid=pid, state=state, frames=_main_thread(text) or _spied(log, pid))


def _spied(log: Path, pid: int) -> tuple[tuple[str, str, str], ...]:
    """Let py-spy print a process's stacks to the log; return its main thread's, or nothing if it cannot."""
    program = shutil.which("py-spy")
    if program is None:
        return ()
    # It reads the memory of the process, and does not stop it.
    command = [program, "dump", "--nonblocking", "--full-filenames", "--pid", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PY_SPY_S)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    with log.open("a") as file:
        file.write(done.stdout + done.stderr)
    frames: list[tuple[str, str, str]] = []
    main = False
    for line in done.stdout.splitlines():
        if line.startswith("Thread "):
            main = "MainThread" in line
        elif main and (match := _SPIED.fullmatch(line)):
            frames.append((match["file"], match["line"] or "???", match["name"]))
    return tuple(frames)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "Z"


def _main_thread(text: str) -> tuple[tuple[str, str, str], ...]:
    """Return the frames of the main thread, which comes last: faulthandler begins with the newest thread."""
    block: list[tuple[str, str, str]] = []
    for line in text.splitlines():
        if "(most recent call first)" in line:
            block = []
        elif match := _FRAME.fullmatch(line):
            block.append((match["file"], match["line"], match["name"]))
    return tuple(block)
