"""What each rank needs of its own for an iteration: the time in which it does not wait for others.

The time of a whole iteration is the same on all ranks. A rank's own part is what is left of it without the waits for
collectives, which torch does in one place, ``Work.wait``. It travels with the exit signals, which Megatron gathers at
every iteration (``training/megatron/exit_signals.py``), so it costs no communication; rank 0 writes medians for whoever
judges them outside of the ranks (``campaign/straggler.py``).

On gloo, the host waits. With NCCL it does not, since the device does: there all ranks seem to be alike.
"""

import functools
import os
import threading
import time
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.pace import Pace, write_pace
from megatron_lrps.plan.keys.alerts import Alerts

_UNIT_S = 1e-5
_MOST = 2**27 - 1
"""The longest lap that can be told, in units: 22 minutes."""
_REPORT_S = 5.0
_RANKS = 1024
"""The ranks whose medians take a thousandth of that time; with more of them it is longer."""

_waited = 0.0
"""The seconds that the main thread of this process has waited for other ranks."""
_counts = False


class RankPace:
    """This rank's laps and, on rank 0, those of all ranks. It does nothing before ``measure``."""

    def __init__(self) -> None:
        self._on = False
        self._at: float | None = None
        self._waited = 0.0
        self._laps: deque[array[int]] = deque()
        self._seconds: deque[float] = deque()
        self._reports = False

    def measure(self, rules: Alerts) -> None:
        """Measure from now on, if a rule asks for it and there is another rank.

        Args:
            rules: The plan's rules.
        """
        if rules.straggler is None or not torch.distributed.is_initialized() or torch.distributed.get_world_size() < 2:
            return
        from megatron.core import parallel_state

        self._laps = deque(maxlen=rules.window)
        self._seconds = deque(maxlen=rules.window)
        stage = parallel_state.get_pipeline_model_parallel_rank()
        rank = torch.distributed.get_rank()
        torch.distributed.distributed_c10d._get_default_store().set(_key(rank), f"{stage} {os.uname().nodename}")
        _count_waits()
        self._on = True

    def report(self, folder: PathFolder, token: str, every: float = _REPORT_S) -> None:
        """Write the pace of all ranks from now on, in a thread; rank 0 does.

        Args:
            folder: The path's folder.
            token: The token of this process's hold of it.
            every: The seconds between two writes.
        """
        if not self._on:
            return
        self._reports = True
        # A client of its own: while one call to a store waits, so do all others.
        store = torch.distributed.distributed_c10d._get_default_store()
        ranks = torch.distributed.get_world_size()

        def work() -> None:
            pause = threading.Event()
            places: list[tuple[int, str]] = []
            while not pause.wait(every * max(1.0, ranks / _RANKS)):
                if not self._laps:
                    continue
                try:
                    places = places or _places(store, ranks)
                except RuntimeError:  # a rank has ended, and the others will
                    return
                write_pace(folder, token, self._pace(places))

        threading.Thread(target=work, name="lrps-pace", daemon=True).start()

    def lap(self) -> int:
        """Return this rank's own part of the iteration that has ended, in units; 0 if it is unknown."""
        if not self._on:
            return 0
        before, waited, self._at, self._waited = self._at, self._waited, time.perf_counter(), _waited
        if before is None:
            return 0
        if self._reports:
            self._seconds.append(self._at - before)
        return min(_MOST, max(1, round((self._at - before - _waited + waited) / _UNIT_S)))

    def take(self, values: Sequence[int], place: int) -> None:
        """Note the laps of all ranks; rank 0 does.

        Args:
            values: A number of each rank.
            place: The bit of it at which its lap begins.
        """
        if self._reports:
            laps = array("i", [value >> place for value in values])
            if all(laps):
                self._laps.append(laps)

    def _pace(self, places: Sequence[tuple[int, str]]) -> Pace:
        laps = list(self._laps)
        # The upper median of each rank, in half the time of np.median.
        by_rank = np.ascontiguousarray(np.array(laps).T)
        medians = np.partition(by_rank, len(laps) // 2, axis=1)[:, len(laps) // 2] * _UNIT_S
        return Pace(
            iterations=len(laps),
            seconds=float(np.median(list(self._seconds))),
            own=tuple(medians.tolist()),
            stages=tuple(stage for stage, _ in places),
            nodes=tuple(node for _, node in places),
        )


def _key(rank: int) -> str:
    return f"lrps-place-{rank}"


def _places(store: Any, ranks: int) -> list[tuple[int, str]]:
    """Return the stage and the node of each rank; each has told them before its first iteration."""
    told = [value.decode().split(" ", 1) for value in store.multi_get([_key(rank) for rank in range(ranks)])]
    return [(int(stage), node) for stage, node in told]


def _count_waits() -> None:
    """Let torch count the time for which the main thread waits for collectives. Takes a third of a microsecond each."""
    global _counts
    if _counts:
        return
    _counts = True
    from torch._C._distributed_c10d import Work

    wait, main, clock = Work.wait, threading.main_thread().ident, time.perf_counter

    @functools.wraps(wait)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        global _waited
        if threading.get_ident() != main:  # a save in the background may wait as long as it likes
            return wait(self, *args, **kwargs)
        begun = clock()
        try:
            return wait(self, *args, **kwargs)
        finally:
            _waited += clock() - begun

    Work.wait = counted  # type: ignore[method-assign]
