"""The data that a window's samples are drawn from: its own, and with ``replay`` earlier windows'. Pure.

All counts are whole samples in exact arithmetic, so that every machine and every rank gets the same counts.
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
        window: The window that the data belong to: the same window, or an earlier one that is replayed.
        samples: The number of samples, at least 1.
    """

    window: Window
    samples: int


def portions_of(tree: Tree, window: Window) -> tuple[Portion, ...]:
    """Return the portions of a window: its own data first, then replayed windows in the timeline's order.

    Raises:
        PlanError: a replay has no earlier window, names a version that is not earlier, or has a share so small or large
            that one side gets no sample.
    """
    length = tree.batches.between(window.start, window.end)
    replay, key = window.version.replay, f"versions.{window.version.name}.replay"
    if replay is None:
        return (Portion(window=window, samples=length),)
    earlier = tuple(each for each in tree.windows if each.end <= window.start and not each.adopted)
    if not earlier:
        raise PlanError(f"{key}: {replay.share_words} is given, but there is no window before this one.", "remove it.")
    weights = [tree.batches.between(each.start, each.end) for each in earlier]
    if replay.weights is not None:
        names = [each.version.name for each in earlier]
        if unknown := [name for name in replay.weights if name not in names]:
            raise PlanError(
                f"{key}.weights: {unknown[0]} is not an earlier version.", f"name some of {', '.join(names)}."
            )
        weights = _whole([replay.weights.get(name, 0.0) for name in names])
    if isinstance(replay.share, str):
        numerator, denominator = sum(weights), sum(weights) + length
    else:
        numerator, denominator = _fraction(replay.share)
    replayed = (2 * numerator * length + denominator) // (2 * denominator)  # half a sample rounds up
    if not 0 < replayed < length:
        raise PlanError(
            f"{key}: {replay.share_words} of {length} samples is {replayed} samples, and {length - replayed} samples "
            "remain of its own data.",
            "change the share, or make the version longer.",
        )
    counts = shared_out(replayed, weights)
    again = [Portion(window=each, samples=count) for each, count in zip(earlier, counts, strict=True) if count]
    return (Portion(window=window, samples=length - replayed), *again)


def windows_read(tree: Tree, path: PlannedPath, position: int) -> tuple[Window, ...]:
    """Return the windows, replayed ones too, whose data a path reads after an iteration, in the timeline's order.

    A path with a blend of its own reads none.
    """
    if path.order == "blend":
        return ()
    ahead = [each for each in tree.windows_of(path) if path.order == "mixed" or each.end > position]
    names = {portion.window.version.name for window in ahead for portion in portions_of(tree, window)}
    return tuple(each for each in tree.windows if each.version.name in names)


def shared_out(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` into whole shares by weight, each less than 1 from its exact share."""
    ends = [total * end // sum(weights) for end in itertools.accumulate(weights)]
    return [end - before for before, end in itertools.pairwise([0, *ends])]


def _fraction(value: float) -> tuple[int, int]:
    return Decimal(repr(value)).as_integer_ratio()  # exact from the plan's digits: 0.1 is one tenth


def _whole(weights: list[float]) -> list[int]:
    """Return the weights as whole numbers in the same proportions."""
    fractions = [_fraction(weight) for weight in weights]
    common = math.prod(denominator for _, denominator in fractions)
    return [numerator * common // denominator for numerator, denominator in fractions]


class Interleaved(NamedTuple):
    """Several sequences interleaved evenly, without a table and the same on every machine.

    If the sequences after the first have r of n positions, position p is theirs if floor(r (p + 1) / n) rises there;
    among them the rule repeats. In any stretch the first sequence has its exact share, rounded up or down.

    Args:
        counts: The length of each sequence; at least one is not 0.
    """

    counts: tuple[int, ...]

    def locate(self, position: int) -> tuple[int, int]:
        """Return (sequence, place in it) at ``position``, 0 <= position < the sum of ``counts``."""
        for sequence, total, rest in self._splits():
            before = position * rest // total
            if (position + 1) * rest // total == before:
                return sequence, position - before
            position = before
        raise IndexError(f"position {position} is outside of {sum(self.counts)} samples")

    def before(self, position: int) -> list[int]:
        """Return how many items of each sequence come before ``position``, 0 <= position <= the sum of ``counts``."""
        passed = [0] * len(self.counts)
        for sequence, total, rest in self._splits():
            later = position * rest // total
            passed[sequence] = position - later
            position = later
        return passed

    def _splits(self) -> Iterator[tuple[int, int, int]]:
        """Yield (sequence, its length with all later ones, the length of the later ones)."""
        total = sum(self.counts)
        for sequence, count in enumerate(self.counts):
            if total:
                yield sequence, total, total - count
            total -= count
