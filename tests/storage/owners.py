"""Processes that hold a path, and records planted in their place; another host is a process that gives another name."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from megatron_lrps.storage.owner import Owner, this_process
from megatron_lrps.storage.ownership import acquire, holder

BEAT_S = 0.1

# Arguments: folder, host name or "". It holds the path until its input ends, or says that it lost it.
HOLD = f"""
import select, sys
from pathlib import Path
from megatron_lrps.storage import owner, ownership
if sys.argv[2]:
    owner.socket.gethostname = lambda: sys.argv[2]
with ownership.acquire(Path(sys.argv[1]), beat_s={BEAT_S}, say=print) as held:
    print("held", flush=True)
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        if held.lost:
            sys.exit(held.lost)
"""


@contextlib.contextmanager
def holding(folder: Path, host: str = "", wrapper: tuple[str, ...] = ()) -> Iterator["subprocess.Popen[str]"]:
    command = [*wrapper, sys.executable, "-c", HOLD, str(folder), host]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def me(**changes: Any) -> Owner:
    return replace(this_process(BEAT_S), **changes)


def plant(folder: Path, content: Owner | bytes, *, age_s: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "owner.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(asdict(content)).encode())
    mtime = time.time() - age_s
    os.utime(file, (mtime, mtime))
    return file


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def beating() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lrps-owner"]


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Said(list[str]):
    """The lines that were said, and the seconds that passed since it was made."""

    def __init__(self) -> None:
        self.since = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since


def taken(folder: Path, said: Said) -> None:
    """Take the path, see that it is this process's and that nothing but the record lies there, and give it back."""
    with acquire(folder, beat_s=BEAT_S, say=said.append) as held:
        assert held.lost is None
        assert (now := holder(folder)) is not None
        assert now.pid == os.getpid()
        assert names_in(folder) == ["owner.json"]
    assert names_in(folder) == []
