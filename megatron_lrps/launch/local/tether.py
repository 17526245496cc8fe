"""``python -m megatron_lrps.launch.tether MODULE ARGS...`` runs ``MODULE``, to be killed when its parent ends.

An executor that is killed can save nobody else: its torchrun, and torchrun's ranks, would train on unseen and
write into a path that the next executor takes over. The kernel's parent-death signal ends that, but it is not
inherited, and torchrun sets none for its ranks. So torchrun and every rank are started through this module:
it asks for the signal, then becomes what it was asked to run (``execv`` keeps the request). Linux only.
"""

import ctypes
import os
import signal
import sys

from megatron_lrps.errors import EXIT_FAILED

PARENT = "MEGATRON_LRPS_PARENT"
"""Environment variable: the process id of the one to whom a tethered process is tied."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Tie this process to its parent, then become the module; returns only by SystemExit or OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The signal is for deaths from now on; a parent that had died before has left this process to another.
    if os.getppid() != int(os.environ[PARENT]):
        print(f"lrps: process {os.environ[PARENT]}, which started this one, is gone.", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    os.environ[PARENT] = str(os.getpid())
    os.execv(sys.executable, [sys.executable, "-u", "-m", *sys.argv[1:]])


if __name__ == "__main__":
    main()
