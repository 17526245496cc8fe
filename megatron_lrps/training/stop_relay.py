"""A process beside a rank: it passes a signal to stop on to a thread of the rank, and kills a rank without an answer.

``python -m megatron_lrps.training.stop_relay PID RANK SECONDS SIGNAL...`` reads the numbers of the signals that the
rank gets, as Python's handler in C writes them. While other C code holds the interpreter's lock, no thread of the rank
runs, so only another process can end it. Once asked, the rank's thread writes a zero every second while all goes well.
"""

import os
import select
import signal
import sys
import threading
import time

from megatron_lrps.processes import STACKS_SIGNAL, ignore_stops, tie_to

_STACKS_S = 3.0
"""The seconds that the rank gets to print its stacks, which needs no lock, and this process to say why it is killed."""


def main(arguments: list[str]) -> None:
    """Relay until the rank ends; the arguments are those above."""
    pid, rank, seconds = int(arguments[0]), int(arguments[1]), float(arguments[2])
    tie_to(pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore_stops()
    stops = {int(number) for number in arguments[3:]}
    end: float | None = None
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        if not select.select([0], [], [], left)[0]:
            _kill(pid, rank, seconds)
        if not (received := os.read(0, 4096)):
            return
        if end is None and not stops.isdisjoint(received):
            os.write(1, b"\n")
        elif end is None or 0 not in received:
            continue
        end = time.monotonic() + seconds


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
