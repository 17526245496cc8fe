"""Ends a rank that was asked to save and stop and makes no progress any more, whatever started it.

``lrps run`` and the script of a Slurm job watch over their ranks, and act a minute before the rank itself does. Ranks
that people start by a torchrun or srun of their own have nobody else. It costs nothing until somebody asks.
"""

import contextlib
import faulthandler
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from megatron_lrps.campaign.path_request import OverdueEnd, PathRequest, record_overdue_end, request_file
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.campaign.stop_deadline import RequestDeadline, StopDeadline, seconds_to_stop
from megatron_lrps.errors import EXIT_CONTINUE, LrpsError
from megatron_lrps.processes import PARENT
from megatron_lrps.training.current_activity import CurrentActivity
from megatron_lrps.training.path_to_train import PathToTrain

GRACE_S = 60.0
"""The seconds that ``lrps run`` or a job's script have to act first."""
_RELAY = "megatron_lrps.training.stop_relay"
_LOOK_S = 1.0
_LOOKS_PER_REQUEST = 5
_DISK_S = 10.0
"""The seconds that a disk has to answer: it may be what the rank hangs on."""


class OverdueStop:
    """The watch over this rank's stop.

    Args:
        path: The path that it trains.
        rank: Its number.
        activity: Counts its steps of progress.
    """

    def __init__(self, path: PathToTrain, rank: int, activity: CurrentActivity) -> None:
        self._path, self._rank, self._activity = path, rank, activity
        self._ending = threading.Lock()

    def watch(self, *numbers: int) -> None:
        """Watch from now on; to be called in the main thread. Under ``lrps run``, which can do more, do nothing.

        Python calls the handler of a signal in the main thread, which may hang. So a small process beside the rank gets
        the number from the handler's part in C, and passes it on to a thread. It looks for a request too, and kills a
        rank none of whose threads runs.

        Args:
            numbers: The signals that ask this rank to save and stop.
        """
        if PARENT in os.environ:
            return
        seconds = seconds_to_stop(self._given, ()) + GRACE_S
        folder = self._path.folder if self._rank == 0 else None
        file = request_file(folder, "stop").absolute() if folder is not None else ""
        relay = subprocess.Popen(
            [sys.executable, "-P", "-m", _RELAY, *map(str, (os.getpid(), self._rank, seconds, file, *numbers))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert relay.stdin is not None
        os.set_blocking(relay.stdin.fileno(), False)
        signal.set_wakeup_fd(relay.stdin.fileno(), warn_on_full_buffer=False)
        # A signal to a process that this one forks is not meant for it.
        os.register_at_fork(after_in_child=functools.partial(signal.set_wakeup_fd, -1))
        threading.Thread(target=self._await_signal, args=(relay,), name="lrps-stop-signal", daemon=True).start()
        if folder is not None:
            by_file = RequestDeadline(folder, self._given)
            threading.Thread(
                target=self._await_request, args=(by_file, relay), name="lrps-stop-request", daemon=True
            ).start()

    @property
    def _given(self) -> float | None:
        """``stop_timeout`` of the plan for where this rank runs."""
        if self._path.planned is None:
            return None
        launch = self._path.planned.tree.plan.launch
        return launch.slurm.stop_timeout if launch.slurm and "SLURM_JOB_ID" in os.environ else launch.local.stop_timeout

    def _await_signal(self, relay: subprocess.Popen[bytes]) -> None:
        assert relay.stdout is not None
        if not os.read(relay.stdout.fileno(), 1):
            return
        deadline = StopDeadline(_answer(self._seconds, self._unknown()), time.monotonic())
        while not deadline.is_over(self._activity.steps, None, time.monotonic(), grace=GRACE_S):
            _show_life(relay)
            time.sleep(_LOOK_S)
        self._end(deadline.seconds, None)

    def _await_request(self, by_file: RequestDeadline, relay: subprocess.Popen[bytes]) -> None:
        while True:
            for _ in range(_LOOKS_PER_REQUEST):
                _show_life(relay)
                time.sleep(_LOOK_S)
            with contextlib.suppress(OSError, LrpsError):  # the disk may be back at the next look
                deadline = by_file.look(now := time.monotonic())
                if deadline is not None and deadline.is_over(self._activity.steps, None, now, grace=GRACE_S):
                    self._end(deadline.seconds, by_file.request)

    def _seconds(self) -> float:
        folder = self._path.folder
        return self._unknown() if folder is None else seconds_to_stop(self._given, events(folder))

    def _unknown(self) -> float:
        """The seconds for a path whose history does not say how long a save takes."""
        saves = ({"event": "saved", "seconds": each} for each in [self._activity.longest_save] if each)
        return max(seconds_to_stop(self._given, ()), seconds_to_stop(self._given, saves))

    def _end(self, seconds: float, request: PathRequest | None) -> None:
        with self._ending:  # and never let go
            faulthandler.dump_traceback(file=2, all_threads=True)
            lost = ""
            if self._rank == 0:
                lost = f", and {_answer(lambda: self._recorded(seconds, request), 'what is not saved is lost')}"
            print(
                f"lrps: rank {self._rank} has made no progress for {seconds:g} s since it was asked to save and stop: "
                f"it ends{lost}",
                file=sys.stderr,
                flush=True,
            )
            os._exit(EXIT_CONTINUE)

    def _recorded(self, seconds: float, request: PathRequest | None) -> str:
        """Record this end; return what is lost."""
        path = self._path
        if path.planned is None or path.folder is None:
            return "what is not saved is lost"
        saved = standing_of(path.planned.campaign, path.planned.path).position
        end = OverdueEnd(iteration=max(self._activity.iteration or saved, saved), saved=saved, seconds=seconds)
        record_overdue_end(path.folder, request, end)
        return end.lost


def _show_life(relay: subprocess.Popen[bytes]) -> None:
    assert relay.stdin is not None
    with contextlib.suppress(OSError):  # somebody has killed it
        os.write(relay.stdin.fileno(), b"\0")


def _answer[T](ask: Callable[[], T], otherwise: T) -> T:
    """Return what a disk answers; ``otherwise`` if it gives no answer in time."""
    found = [otherwise]

    def wait() -> None:
        with contextlib.suppress(OSError, LrpsError):
            found.append(ask())

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(_DISK_S)
    return found[-1]
