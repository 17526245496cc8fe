"""The timeline: windows of training samples, chained in one order that no path's length changes.

Megatron orders a data set by the number of samples asked of it, so a ``--train-iters`` that grows across an
epoch's end reshuffles what a path has not read yet. Here every window is a data set of its own fixed number
of samples, and a path reads the chain of them: main and branch read the same samples at the same positions.
``training/megatron/datasets.py`` builds it.

The order in which a path reads these samples is computed without a table. A shuffled order is a keyed permutation (a
Feistel network with cycle walking, as in format-preserving encryption: Black and Rogaway 2002), so a position costs the
same whatever the length, and start-up costs nothing: a table for 10^9 samples would take 8 GiB on every rank.
"""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from megatron_lrps.plan.window_samples import Interleaved

_ROUNDS = 6
_MASK = (1 << 64) - 1


class Samples(Protocol):
    """A data set that is read by index."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Any]: ...


@dataclass(frozen=True)
class WindowSamples:
    """One window's part of the timeline; or of a branch with a blend of its own, main's part or the branch's.

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


@dataclass(frozen=True)
class Chained:
    """The timeline in its own order."""

    length: int

    def sample(self, position: int) -> int:
        """Return the sample read at ``position``: itself."""
        return position


@dataclass(frozen=True)
class Mixed:
    """All samples of the timeline once each, shuffled.

    Args:
        length: The number of samples.
        seed: The seed; each gives an order of its own.
    """

    length: int
    seed: int

    def sample(self, position: int) -> int:
        """Return the sample read at ``position``, 0 <= position < length; a bijection."""
        half = max(1, ((self.length - 1).bit_length() + 1) // 2)
        value = position
        while True:  # at most 4 x the length is permuted, so this takes 4 turns on average at worst
            value = self._permute(value, half)
            if value < self.length:
                return value

    def _permute(self, value: int, half: int) -> int:
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_mixed(right, self.seed * _ROUNDS + turn) & mask)
        return left << half | right


@dataclass(frozen=True)
class Reordered:
    """An order whose positions in [start, stop) are shuffled among themselves: the same samples in another order.

    Args:
        order: The order that is changed.
        start: The first position that is shuffled.
        stop: The first position after them.
        seed: The seed; each gives an order of its own.
    """

    order: Chained | Mixed
    start: int
    stop: int
    seed: int

    @property
    def length(self) -> int:
        """The number of samples."""
        return self.order.length

    def sample(self, position: int) -> int:
        """Return the sample read at ``position``, 0 <= position < length; a bijection."""
        if self.start <= position < self.stop:
            position = self.start + Mixed(self.stop - self.start, self.seed).sample(position - self.start)
        return self.order.sample(position)


def replay_seed(seed: int, place: int) -> int:
    """Return Megatron's random seed for what a window replays; each window has one of its own.

    With one seed for all, v2 and v3 would both replay the samples that v1's own window begins with.

    Args:
        seed: The campaign's seed.
        place: The window's index in the timeline, 1 <= place < 2^31.
    """
    return (seed + 0x9E3779B1 * place) % 2**32  # an odd factor: no two places share a seed


def blend_seed(seed: int) -> int:
    """Return Megatron's random seed for a branch's own blend, which no window and no replay has.

    With the campaign's own seed, a branch would read the same samples of a window's index that main has begun with.
    """
    return replay_seed(seed, -1)


def _mixed(value: int, key: int) -> int:
    """Apply SplitMix64's finalizer to value and key: every input bit changes half of the output bits."""
    bits = (value + 0x9E3779B97F4A7C15 * (key + 1)) & _MASK
    bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & _MASK
    return bits ^ bits >> 31


class Timeline(torch.utils.data.Dataset[dict[str, Any]]):
    """The samples of a path, by position.

    Args:
        windows: The windows in their order.
        order: The order in which the samples are read.
    """

    def __init__(self, windows: Sequence[WindowSamples], order: Chained | Mixed | Reordered) -> None:
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
