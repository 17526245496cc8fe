"""Megatron's exit signals: SIGTERM saves and stops as well, and main's requests for a cut travel with them."""

import functools
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
        cuts: Learns at every iteration whether a cut is asked for.
    """
    handler = names.SIGNAL_HANDLER.get()()
    signal.signal(signal.SIGTERM, lambda *_: setattr(handler, "_signal_received", True))
    if cuts.listens:
        replace(handler, "signals_received", functools.partial(_received_with_cuts, handler, cuts))


def received() -> bool:
    """Whether a rank got the exit signal; all ranks ask together."""
    return any(names.SIGNAL_HANDLER.get()().signals_received())


def _received_with_cuts(handler: Any, cuts: CutListener) -> list[bool]:
    """Tell which ranks got the exit signal, as the handler's ``signals_received``; all note whether a cut is wanted."""
    mine = _SIGNAL * handler._signal_received | _CUT * cuts.is_asked()
    values = names.GATHER_ITEM.get()(mine, dtype=torch.int32)
    cuts.wanted = any(value & _CUT for value in values)
    return [bool(value & _SIGNAL) for value in values]
