"""The process that writes a rank's checkpoints in the background in Bridge's loop: if it dies, the rank ends.

Bridge has one with ``checkpoint.async_save``, of megatron-core or of nvidia-resiliency-ext. Both wait for its answers
without looking whether it lives, so the watch of Megatron-LM's loop serves here too
(``training/megatron/checkpoint_writer.py``). Nothing of Bridge is changed for it: the loop's queue knows its writer.
"""

import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from megatron_lrps.training.megatron.checkpoint_writer import Died, watch

_LOOK_S = 1.0
_CALLERS = ("persistent_caller", "_persistent_caller", "_warmup_persistent_caller")
"""The queue's owner of the writer: of nvidia-resiliency-ext, of megatron-core, and before the first save."""


def watch_writer(queue: Callable[[], Any], rank: int, died: Died) -> None:
    """Watch over each writer from now on, in a thread that looks once in a second whether there is one.

    Args:
        queue: Returns the loop's ``AsyncCallsQueue``, or None.
        rank: This process's rank.
        died: Called with what became of a writer and an exit code; the rank ends with what it returns.
    """

    def work() -> None:
        pause = threading.Event()
        while not pause.wait(_LOOK_S):
            if (process := _writer(queue())) is not None:
                watch(process, rank, died, lambda: _writer(queue()))

    threading.Thread(target=work, name="checkpoint writer", daemon=True).start()


def _writer(queue: Any) -> BaseProcess | None:
    for name in _CALLERS:
        caller = getattr(queue, name, None)
        # The second is that of megatron-core's class, which has it before its first save.
        for attribute in ("process", "_persistent_process"):
            process: BaseProcess | None = getattr(caller, attribute, None)
            if process is not None:
                return process
    return None
