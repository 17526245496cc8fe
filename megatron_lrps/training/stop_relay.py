"""A process beside a rank: it passes a signal to stop on to a thread of the rank, and kills a rank without an answer.

``python -m megatron_lrps.training.stop_relay PID RANK SECONDS FILE SIGNAL...`` reads the numbers of the signals that
the rank gets, as Python's handler in C writes them. While other C code holds the interpreter's lock, no thread of the
rank runs, so only another process can end it. Once asked, by a signal or by the file of a request, the rank's threads
write a zero every second while all goes well. The file is empty for a rank that looks for no request.
"""

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

from megatron_lrps.processes import STACKS_SIGNAL, ignore_stops, tie_to

_LOOK_S = 5.0
_STACKS_S = 3.0
"""The seconds that the rank gets to print its stacks, which needs no lock, and this process to say why it is killed."""


def main(arguments: list[str]) -> None:
    """Relay until the rank ends; the arguments are those above."""
    pid, rank, seconds = int(arguments[0]), int(arguments[1]), float(arguments[2])
    tie_to(pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore_stops()
    stops = {int(number) for number in arguments[4:]}
    requested = threading.Event()
    if arguments[3]:
        threading.Thread(target=_look_for, args=(Path(arguments[3]), requested), daemon=True).start()
    signaled, end = False, math.inf
    while True:
        if not select.select([0], [], [], _LOOK_S)[0]:
            received = b""
        elif not (received := os.read(0, 4096)):
            return
        now = time.monotonic()
        if not signaled and not stops.isdisjoint(received):
            os.write(1, b"\n")
            signaled = True
        if not signaled and not requested.is_set():
            end = math.inf
        elif end == math.inf or 0 in received:
            end = now + seconds
        if now > end:
            _kill(pid, rank, seconds)


def _look_for(file: Path, requested: threading.Event) -> None:
    """Tell whether a file exists; a disk that does not answer keeps nothing else waiting."""
    while True:
        time.sleep(_LOOK_S)
        with contextlib.suppress(OSError):
            (requested.set if file.exists() else requested.clear)()


def _kill(pid: int, rank: int, seconds: float) -> None:
    os.kill(pid, STACKS_SIGNAL)
    text = (
        f"lrps: rank {rank} was asked to save and stop, and for {seconds:g} s none of its threads has run: it is "
        "killed, and what it has not saved is lost"
    )
    # Whoever reads the rank's output may hang as well.
    threading.Thread(target=print, args=(text,), kwargs={"file": sys.stderr, "flush": True}, daemon=True).start()
    time.sleep(_STACKS_S)
    os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
