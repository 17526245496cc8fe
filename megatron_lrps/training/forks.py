"""Processes that a rank forks, such as the writers of a save, end with it.

A rank that is killed leaves them to themselves: they would write on into a checkpoint folder that the next run
has already begun to fill. The kernel's parent-death signal ends them. Linux only; elsewhere nothing changes.
"""

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_parent: int | None = None


def tie_forks() -> None:
    """Tie every process that this one forks from now on to it; call it once."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)

    def before() -> None:
        global _parent
        # The signal comes when the forking thread ends, and only the main thread lives as long as the process.
        _parent = os.getpid() if threading.current_thread() is threading.main_thread() else None

    def in_child() -> None:
        if _parent is None:
            return
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != _parent:  # it ended before the signal was asked for
            os._exit(1)

    os.register_at_fork(before=before, after_in_child=in_child)
