"""Megatron's exit signals: SIGTERM saves and stops as well, and main's requests for a cut travel with them."""

import signal
from typing import Any

import torch

from megatron_lrps.training.cut_listener import CutListener
from megatron_lrps.training.megatron import names
from megatron_lrps.training.megatron.patching import replace

_SIGNAL, _CUT = 1, 2


def listen(cuts: CutListener) -> None:
    """Let SIGTERM, which launchers send, save and stop as the exit signal does; main listens for cuts too.

    Args:
        cuts: Told at every iteration whether a cut is asked for.
    """
    handler = names.SIGNAL_HANDLER.get()()
    signal.signal(signal.SIGTERM, lambda *_: setattr(handler, "_signal_received", True))
    if cuts.listens:
        replace(handler, "signals_received", _WithCuts(handler, cuts).signals_received)


def received() -> bool:
    """Whether a rank got the exit signal; all ranks ask together."""
    return any(names.SIGNAL_HANDLER.get()().signals_received())


class _WithCuts:
    """Stands in for the ``signals_received`` of Megatron's signal handler, which knows of this process alone."""

    def __init__(self, handler: Any, cuts: CutListener) -> None:
        self._handler, self._cuts, self._gather = handler, cuts, names.GATHER_ITEM.get()

    def signals_received(self) -> list[bool]:
        """Tell which ranks got the exit signal; every rank notes whether a cut is asked for."""
        mine = _SIGNAL if self._handler._signal_received else 0
        if self._cuts.is_asked():
            mine |= _CUT
        values = self._gather(mine, dtype=torch.int32)
        self._cuts.wanted = any(value & _CUT for value in values)
        return [bool(value & _SIGNAL) for value in values]
