"""The timeline: windows of training samples, chained in one order that no path's length changes.

Megatron orders a data set by the number of samples asked of it, so a ``--train-iters`` that grows across an
epoch's end reshuffles what a path has not read yet. Here every window is a data set of its own fixed number
of samples, and a path reads the chain of them: main and branch read the same samples at the same positions.
``training/megatron/datasets.py`` builds it.
"""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from megatron_lrps.plan.window_samples import Interleaved
from megatron_lrps.training.sample_order import Chained, Mixed


class Samples(Protocol):
    """A data set that is read by index."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Any]: ...


@dataclass(frozen=True)
class WindowSamples:
    """One window's part of the timeline.

    Attributes:
        version: The name of the version that adds it.
        length: The number of samples that it adds, which never changes.
        samples: Its data set; None if this path has already passed it.
    """

    version: str
    length: int
    samples: Samples | None


class WithReplay:
    """The samples of a window that replays earlier ones: its own, with theirs spread evenly among them.

    Args:
        parts: Data sets, the window's own first.
        counts: The number of samples that each gives; a data set may be longer.
    """

    def __init__(self, parts: Sequence[Samples], counts: Sequence[int]) -> None:
        self.parts = tuple(parts)
        self.spread = Interleaved(tuple(counts))

    def __len__(self) -> int:
        return sum(self.spread.counts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, sample = self.spread.locate(index)
        return self.parts[part][sample]


class Timeline(torch.utils.data.Dataset[dict[str, Any]]):
    """The samples of a path, by position.

    Args:
        windows: The windows in their order.
        order: The order in which the samples are read.
    """

    def __init__(self, windows: Sequence[WindowSamples], order: Chained | Mixed) -> None:
        self.windows = tuple(windows)
        self.order = order
        self._ends = list(itertools.accumulate(window.length for window in self.windows))
        if order.length != self._ends[-1]:
            raise ValueError(f"the order has {order.length} samples, the windows have {self._ends[-1]}")

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, position: int) -> tuple[int, int]:
        """Return the index of the window and the sample in it that is read at ``position``."""
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is outside of the timeline's {len(self)} samples")
        sample = self.order.sample(position)
        index = bisect.bisect_right(self._ends, sample)
        return index, sample - (self._ends[index - 1] if index else 0)

    def __getitem__(self, position: int) -> dict[str, Any]:
        index, sample = self.locate(position)
        window = self.windows[index]
        if window.samples is None:
            raise IndexError(f"position {position} lies in window {window.version}, which this path has passed")
        return window.samples[sample]
