"""Megatron's exit signals: SIGTERM saves and stops as well, and requests to the path's job travel with them."""

import functools
import signal
from collections.abc import Callable
from typing import Any

import torch

from megatron_lrps.campaign.path_request import KINDS
from megatron_lrps.training.megatron import names
from megatron_lrps.training.megatron.patching import replace
from megatron_lrps.training.megatron.rank_pace import RankPace
from megatron_lrps.training.overdue_stop import OverdueStop
from megatron_lrps.training.request_listener import RequestListener

_SIGNAL = 1
_BITS = {kind: 2 << place for place, kind in enumerate(KINDS)}
_PACE = 1 + len(_BITS)
"""The place of the first bit of a rank's lap; 31 bits of the number that is gathered are free of a sign."""


def listen(requests: RequestListener, pace: RankPace, overdue: OverdueStop) -> None:
    """Let SIGTERM, which launchers send, save and stop as the exit signal does, and so a request to stop.

    Args:
        requests: Learns at every iteration what is asked for.
        pace: Learns the ranks' laps.
        overdue: Watches whether this rank stops when it is asked.
    """
    handler = names.SIGNAL_HANDLER.get()()
    signal.signal(signal.SIGTERM, lambda *_: setattr(handler, "_signal_received", True))
    overdue.watch(signal.SIGTERM, handler.sig)
    if requests.listens:
        gather = names.GATHER_ITEM.get()
        replace(handler, "signals_received", functools.partial(received_with_requests, handler, requests, pace, gather))


def received() -> bool:
    """Whether a rank got the exit signal; all ranks ask together."""
    return any(names.SIGNAL_HANDLER.get()().signals_received())


def received_with_requests(
    handler: Any, requests: RequestListener, pace: RankPace, gather: Callable[..., list[int]]
) -> list[bool]:
    """Tell which ranks got the exit signal, or were asked to stop, as the handler's ``signals_received``.

    Args:
        handler: The loop's signal handler.
        requests: Learns what is asked for.
        pace: Learns the ranks' laps.
        gather: The loop's ``all_gather_item``: it gives one number of each rank to all of them.
    """
    mine = _SIGNAL * handler._signal_received | sum(_BITS[kind] for kind in requests.asked_now())
    values = gather(mine | pace.lap() << _PACE, dtype=torch.int32)
    pace.take(values, _PACE)
    requests.wanted = frozenset(kind for kind, bit in _BITS.items() if any(value & bit for value in values))
    return [bool(value & (_SIGNAL | _BITS["stop"])) for value in values]
