"""Processes that end with the process that started them. Linux only; on other systems nothing changes.

A process that is killed cannot end what it has started. torchrun and its ranks would train on unseen, in a path that
the next ``lrps run`` takes over. A rank's writers would write into a checkpoint folder that the next run has begun to
fill. The kernel's parent-death signal ends them. A new process does not inherit it, so each has to ask for it:

- ``python -m megatron_lrps.processes MODULE ARGS...`` asks, and then becomes ``python -m MODULE ARGS...``. torchrun and
  every rank are started like this, so this file imports little.
- ``tie_to`` asks in a process that has just been started.
- ``tie_children`` makes every process that this one starts through ``fork`` or ``multiprocessing`` ask.
"""

import ctypes
import os
import signal
import sys
import threading
from typing import Any

from megatron_lrps.errors import EXIT_FAILED

PARENT = "MEGATRON_LRPS_PARENT"
"""Environment variable: the process to which ``python -m megatron_lrps.processes`` ties itself."""

STACKS_SIGNAL = signal.SIGURG
"""The signal on which a rank prints the stacks of its threads. All processes of a Slurm step get it: those that do not
know it ignore it."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_forking: int | None = None
"""This process's id, while its main thread forks."""


def tie_to(parent: int) -> None:
    """End this process when ``parent`` ends, which started it from its main thread."""
    if not _tied(parent):
        os._exit(EXIT_FAILED)


def _tied(parent: int) -> bool:
    """Ask for the signal. False if the parent had ended before, because the signal is for later deaths only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "prctl"):
        return True
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    return os.getppid() == parent


def tie_children() -> None:
    """Tie every process that this one starts from now on to it. Call it once.

    The children ignore the signals that ask a rank to save and stop: Slurm sends these to all processes of a step, and
    the save that the rank then makes needs its writers.
    """
    if sys.platform != "linux":
        return
    import atexit
    import multiprocessing.util  # registers its own exit function, which runs after the one below

    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
    multiprocessing.util.spawnv_passfds = _spawn_tied(multiprocessing.util.spawnv_passfds)
    atexit.register(_kill_daemons)


def show_stacks() -> None:
    """Print the stacks of all threads of this process to its standard error whenever it gets ``STACKS_SIGNAL``."""
    import faulthandler

    faulthandler.register(STACKS_SIGNAL, file=2, all_threads=True)


def ignore_stops() -> None:
    """Ignore, in this process, the signals that ask a rank to save and stop."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _before_fork() -> None:
    global _forking
    # The signal comes when the forking thread ends, and only the main thread lives as long as the process.
    _forking = os.getpid() if _in_main_thread() else None


def _after_fork() -> None:
    if _forking is not None:
        tie_to(_forking)
        ignore_stops()


def _spawn_tied(spawn: Any) -> Any:
    """multiprocessing's way to start a Python program, so that the program ties itself in its first line."""

    def tied(path: Any, args: Any, passfds: Any) -> Any:
        line = [os.fsdecode(arg) for arg in args]
        program = line.index("-c") + 1 if "-c" in line else 0
        # The resource tracker is left alone: it outlives its process to clean up behind it, and ends by itself.
        if _in_main_thread() and ("spawn_main" in line[program] or "forkserver" in line[program]):
            tie = f"p.tie_to({os.getpid()}); p.tie_children(); p.ignore_stops()"
            line[program] = f"from megatron_lrps import processes as p; {tie}; {line[program]}"
            args = [os.fsencode(arg) for arg in line]
        return spawn(path, args, passfds)

    return tied


def _kill_daemons() -> None:
    """Kill the daemons, which multiprocessing would wait for after a SIGTERM that they ignore."""
    import multiprocessing

    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _become_module() -> None:
    """Tie this process to ``PARENT``, then become the module of the command line. ``execv`` keeps the tie."""
    parent = int(os.environ[PARENT])
    if not _tied(parent):
        print(f"lrps: process {parent}, which started this one, is gone.", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    os.environ[PARENT] = str(os.getpid())
    os.execv(sys.executable, [sys.executable, "-u", "-m", *sys.argv[1:]])


if __name__ == "__main__":
    _become_module()
