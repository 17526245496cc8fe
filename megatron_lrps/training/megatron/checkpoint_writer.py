"""The process that writes a rank's checkpoints in the background: if it dies, the rank ends and says so.

``--async-save --async-strategy mcore --use-persistent-ckpt-worker`` gives each rank such a process. Megatron waits for
its answers without looking whether it lives: a rank whose writer was killed, usually because memory ran out, would wait
for ever, and the others in their next collective for that rank.
"""

import functools
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from megatron_lrps.errors import EXIT_FAILED, LrpsError
from megatron_lrps.training.megatron import names
from megatron_lrps.training.megatron.names import Name
from megatron_lrps.training.megatron.patching import Call, Hook

Died = Callable[[LrpsError, int], int]
_GRACE_S = 1.0
"""The seconds that Megatron gets to forget a writer that it has ended itself."""


def hooks(start: Name | None, died: Died) -> list[Hook]:
    """Return the hook on the start of a writer, which watches over each one.

    Args:
        start: The release's function; None if it has none, and its writers go unwatched.
        died: Called in a thread with what became of a writer and an exit code: a shell's for the signal that killed the
            writer, since a new start may succeed as after a killed rank; else 1. The rank ends with what it returns.
    """
    return [] if start is None else [Hook(start, functools.partial(_start, start, {}, died))]


def _start(start: Name, first: dict[str, Any], died: Died, call: Call) -> BaseProcess:
    """Start a writer as the first one was started, and watch over it.

    Megatron ends the writer after the last iteration, and starts another for a save that is still to come. It starts
    that one by ``spawn``, without what the first one was given: such a writer imports everything anew, has other
    priorities, and without a GPU ends in its first line, because it knows nothing of the CPU backend.
    """
    running = _running()
    if not first:
        first.update({name: call[name] for name in start.parameters})
    process: BaseProcess = call.proceed(**{name: value for name, value in first.items() if name != "rank"})
    if process is not running:
        rank = call["rank"]
        threading.Thread(target=watch, args=(process, rank, died), name="checkpoint writer", daemon=True).start()
    return process


def _running() -> BaseProcess | None:
    process: BaseProcess | None = names.WRITER.get()
    return process


def watch(process: BaseProcess, rank: int, died: Died, running: Callable[[], BaseProcess | None] = _running) -> None:
    """Wait for a writer's end. If it has died, this process ends; otherwise return.

    Args:
        process: The writer.
        rank: This process's rank.
        died: As in ``hooks``.
        running: Tells the writer of now.
    """
    wait([process.sentinel])
    threading.Event().wait(_GRACE_S)
    # A loop forgets a writer that it has ended. A signal by which another process ended this one finds it here still.
    if running() is not process:
        return
    ended = process.exitcode or 0
    code = 128 - ended if ended < 0 else EXIT_FAILED
    writer = f"The process that writes the checkpoints of rank {rank} (process {process.pid} on {os.uname().nodename})"
    fix = "find out what ended it (dmesg says whether memory ran out), then run the same command to continue."
    try:
        code = died(LrpsError(f"{writer} {_ending(ended)}, so nothing more can be saved.", fix), code)
    finally:
        os._exit(code)  # the main thread waits for the writer's answer, and would wait for ever


def _ending(code: int) -> str:
    if code in (0, 255):  # 255: somebody else has taken its exit code
        return "has ended"
    if code > 0:
        return f"ended with exit code {code} (its error is above)"
    why = ", usually because memory ran out" if code == -signal.SIGKILL else ""
    try:
        return f"was killed by {signal.Signals(-code).name} (signal {-code}{why})"
    except ValueError:
        return f"was killed by signal {-code}"
