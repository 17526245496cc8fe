"""What a window's samples are drawn from: its own data, and by ``replay`` earlier windows' data. Pure.

All counts are whole samples in exact arithmetic, so that every machine and every rank gets the same ones.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.paths import PlannedPath, Tree
from megatron_lrps.plan.version_windows import Window


class Portion(NamedTuple):
    """The samples of a window that are drawn from the training data of one window.

    Attributes:
        window: The window that the data belong to: the same one, or an earlier one that is replayed.
        samples: How many samples, at least 1.
    """

    window: Window
    samples: int


def portions_of(tree: Tree, window: Window) -> tuple[Portion, ...]:
    """What a window consists of, its own data first, then what it replays in the timeline's order.

    Raises:
        PlanError: for a replay without an earlier window, of a version that is none of those, or of so small or large
            a share that no sample is left on one side.
    """
    length = window.iterations * tree.plan.global_batch_size
    replay, key = window.version.replay, f"versions.{window.version.name}.replay"
    if replay is None:
        return (Portion(window=window, samples=length),)
    earlier = tuple(each for each in tree.windows if each.end <= window.start and not each.adopted)
    if not earlier:
        raise PlanError(f"{key}: {replay.share:g} is given, but there is no window before this one.", "remove it.")
    weights = [each.iterations for each in earlier]
    if replay.weights is not None:
        names = [each.version.name for each in earlier]
        if unknown := [name for name in replay.weights if name not in names]:
            raise PlanError(
                f"{key}.weights: {unknown[0]} is not an earlier version.", f"name some of {', '.join(names)}."
            )
        weights = _whole([replay.weights.get(name, 0.0) for name in names])
    numerator, denominator = _fraction(replay.share)
    replayed = (2 * numerator * length + denominator) // (2 * denominator)  # half a sample counts as one
    if not 0 < replayed < length:
        raise PlanError(
            f"{key}: {replay.share:g} of {length} samples is {replayed} samples, and {length - replayed} samples "
            "remain of its own data.",
            "change the share, or make the version longer.",
        )
    counts = shared_out(replayed, weights)
    again = [Portion(window=each, samples=count) for each, count in zip(earlier, counts, strict=True) if count]
    return (Portion(window=window, samples=length - replayed), *again)


def windows_read(tree: Tree, path: PlannedPath, position: int) -> tuple[Window, ...]:
    """The windows whose training data a path reads after an iteration, replayed ones too, in the timeline's order."""
    ahead = [each for each in tree.windows_of(path) if path.order == "mixed" or each.end > position]
    names = {portion.window.version.name for window in ahead for portion in portions_of(tree, window)}
    return tuple(each for each in tree.windows if each.version.name in names)


def shared_out(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares of ``total`` by weight; they add up to it, and each is less than 1 from its exact share."""
    ends = [total * end // sum(weights) for end in itertools.accumulate(weights)]
    return [end - before for before, end in itertools.pairwise([0, *ends])]


def _fraction(value: float) -> tuple[int, int]:
    return Decimal(repr(value)).as_integer_ratio()  # of the digits that the plan has: 0.1 is one tenth


def _whole(weights: list[float]) -> list[int]:
    """Weights in the same proportions as whole numbers."""
    fractions = [_fraction(weight) for weight in weights]
    common = math.prod(denominator for _, denominator in fractions)
    return [numerator * common // denominator for numerator, denominator in fractions]


class Interleaved(NamedTuple):
    """Several sequences as one, each spread evenly over the whole: no table, the same on every machine.

    Position p of n, of which the last sequences have r, is theirs where floor(r (p + 1) / n) rises; among them it is
    decided likewise. In any stretch the first sequence has its exact share, rounded up or down.

    Args:
        counts: Length of each sequence; one at least is not 0.
    """

    counts: tuple[int, ...]

    def locate(self, position: int) -> tuple[int, int]:
        """(sequence, place in it) at ``position``, 0 <= position < the sum of ``counts``."""
        for sequence, total, rest in self._splits():
            before = position * rest // total
            if (position + 1) * rest // total == before:
                return sequence, position - before
            position = before
        raise IndexError(f"position {position} is outside of {sum(self.counts)} samples")

    def before(self, position: int) -> list[int]:
        """How many of each sequence stand before ``position``, 0 <= position <= the sum of ``counts``."""
        passed = [0] * len(self.counts)
        for sequence, total, rest in self._splits():
            later = position * rest // total
            passed[sequence] = position - later
            position = later
        return passed

    def _splits(self) -> Iterator[tuple[int, int, int]]:
        """(sequence, its length with all after it, the length of those after it)."""
        total = sum(self.counts)
        for sequence, count in enumerate(self.counts):
            if total:
                yield sequence, total, total - count
            total -= count
