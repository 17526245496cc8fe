"""Processes that a rank starts, such as the writers of a save, end with it.

A rank that is killed leaves them to themselves: they would write on into a checkpoint folder that the next run has
already begun to fill, and Megatron's persistent writers wait for their next order for ever. The kernel's
parent-death signal ends them. It is not inherited, so each process asks for it: a forked one at once, a spawned one
and a fork server in their first line. Linux only; elsewhere nothing changes.

What asks a rank to save and stop does not end them: Slurm sends it to all processes of a step, and the save that the
rank then makes needs its writers, and the process that collects what these have written.
"""

import atexit
import multiprocessing
import multiprocessing.util as processes
import os
import signal
import sys
import threading
from typing import Any

from megatron_lrps.storage.parent_death import tie_to

_parent: int | None = None


def tie_forks() -> None:
    """Tie every process that this one starts from now on to it; call it once."""
    if sys.platform == "linux":
        os.register_at_fork(before=_before_fork, after_in_child=_in_forked)
        _tie_spawned()
        atexit.register(_end_daemons)  # before multiprocessing's own, which was registered earlier


def outlive_stops() -> None:
    """Ignore, in this process, the signals that ask a rank to save and stop."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _end_daemons() -> None:
    """Kill what multiprocessing would ask to end with SIGTERM, which they ignore, and then wait for."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _before_fork() -> None:
    global _parent
    # The signal comes when the forking thread ends, and only the main thread lives as long as the process.
    _parent = os.getpid() if threading.current_thread() is threading.main_thread() else None


def _in_forked() -> None:
    if _parent is not None:
        tie_to(_parent)
        outlive_stops()


def _tie_spawned() -> None:
    spawn = processes.spawnv_passfds

    def tied(path: Any, args: Any, passfds: Any) -> Any:
        line = [os.fsdecode(arg) for arg in args]
        at = line.index("-c") + 1 if "-c" in line else 0
        # Not the resource tracker: it outlives its process to clean up behind it, and ends by itself.
        if (
            "spawn_main" in line[at] or "forkserver" in line[at]
        ) and threading.current_thread() is threading.main_thread():
            tied_to = f"forks.tie_to({os.getpid()}); forks.tie_forks(); forks.outlive_stops()"
            tie = f"from megatron_lrps.training import forks; {tied_to}; "
            line[at] = tie + line[at]
            args = [os.fsencode(arg) for arg in line]
        return spawn(path, args, passfds)

    processes.spawnv_passfds = tied
