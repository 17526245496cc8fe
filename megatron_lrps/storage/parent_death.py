"""A process that ends with the one that started it."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tie_to(parent: int) -> None:
    """End this process when ``parent``, which started it from its main thread, ends. Linux only; elsewhere nothing."""
    if not hasattr(libc := ctypes.CDLL(None), "prctl"):
        return
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the signal was asked for
        os._exit(1)
