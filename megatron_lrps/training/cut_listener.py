"""Main's side of a cut: all ranks learn of a request at the same iteration, and its save is the answer.

The request travels with the exit signals, which Megatron gathers from all ranks at every iteration: it costs one
look for a file on rank 0, and no communication of its own.
"""

from collections.abc import Callable
from typing import Any

import torch

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.cut_request import EVENT, asked, request_file, withdraw
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.training.session import Run

_SIGNAL, _CUT = 1, 2


class CutListener:
    """Stands in for the ``signals_received`` of Megatron's signal handler.

    Args:
        main: The main path's folder.
        rank: This process's.
        handler: Megatron's, which knows whether this process got the signal.
        gather: Gathers an integer from all ranks.
    """

    def __init__(self, main: PathFolder, rank: int, handler: Any, gather: Callable[..., list[int]]) -> None:
        self._main, self._rank, self._handler, self._gather = main, rank, handler, gather
        self.wanted = False

    def signals_received(self) -> list[bool]:
        """Which ranks got the exit signal; notes on every rank whether a cut is asked for."""
        mine = _SIGNAL if self._handler._signal_received else 0
        if self._rank == 0 and request_file(self._main).exists():
            mine |= _CUT
        values = self._gather(mine, dtype=torch.int32)
        self.wanted = any(value & _CUT for value in values)
        return [bool(value & _SIGNAL) for value in values]

    def take(self, run: Run, iteration: int) -> bool:
        """Whether the iteration is to be saved for a cut; on rank 0, remember whose request its save answers."""
        request = asked(self._main) if self.wanted and self._rank == 0 else None
        if request is not None:
            run.cuts[iteration] = request
            if iteration in Checkpoints.in_folder(run.own).complete:  # its own turn to be saved came first
                answer(run, iteration)
        return self.wanted


def listen(run: Run, rank: int, handler: Any, gather: Callable[..., list[int]]) -> CutListener | None:
    """Put a listener in front of Megatron's signal handler where the run trains main; None elsewhere."""
    if run.folder is None or run.planned is None or run.planned.path.kind != "main":
        return None
    listener = CutListener(run.folder, rank, handler, gather)
    handler.signals_received = listener.signals_received
    return listener


def answer(run: Run, iteration: int) -> None:
    """Tell who asked for a cut that its fork point is saved; on rank 0, where there is a request."""
    folder, request = run.folder, run.cuts.pop(iteration, None)
    if folder is not None and request is not None:
        run.event(EVENT, iteration=iteration, version=request.name, token=request.token)
        withdraw(folder, request)
