"""A merge: a weighted mean of checkpoints that replaces a decay (WSM, arXiv 2507.17634).

A decay makes the last updates of a run count less and less. A mean of checkpoints does the same without training. Let
N checkpoints lie at equal distances, and let the updates between checkpoint j-1 and checkpoint j count w_j of what they
counted, with w_0 = 1 for all that comes before and w_N = 0 after the last. Then checkpoint j has the weight
c_j = w_j - w_(j+1), and the weights add up to 1. A decay shape f gives w_j = f(j / N): a linear one makes all weights
equal, and 1-sqrt gives the earliest checkpoint the largest.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from megatron_lrps.schedule.shapes import SHAPES, continuous_shapes

MEAN, EMA = "mean", "ema"


class MeanPart(NamedTuple):
    """A checkpoint's part in a weighted mean.

    Attributes:
        path: The path that saves the checkpoint.
        iteration: The iteration of the checkpoint.
        weight: Its weight; all weights of a mean add up to 1.
    """

    path: str
    iteration: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class MergeSpec:
    """A version's merge, which ends at the iteration where the version ends.

    Attributes:
        window: The span of the merge, as a share of all iterations up to its end. It may reach back past the version's
            own start.
        checkpoints: The number of checkpoints, at equal distances over the span; the last one is at the end.
        weights: One of ``merge_kinds()``.
    """

    window: float = 0.2
    checkpoints: int = 10
    weights: str = MEAN

    def parts(self, path: str, end: int) -> tuple[MeanPart, ...]:
        """Return the checkpoints of ``path`` that are merged, oldest first.

        Raises:
            ValueError: The span has fewer iterations than the merge has checkpoints.
        """
        span, count = int(self.window * end + 0.5), self.checkpoints
        if span < count:
            raise ValueError(
                f"merge.window {self.window:g} of {end} iterations is {span} iterations, and {count} checkpoints do "
                "not fit into them"
            )
        weights = merge_weights(self.weights, count)
        places = [end - place * span // count for place in reversed(range(count))]
        return tuple(MeanPart(path, place, weight) for place, weight in zip(places, weights, strict=True))


def merge_kinds() -> tuple[str, ...]:
    """Return the names of all kinds of weights: ``mean``, ``ema``, and the continuous decay shapes."""
    return (MEAN, EMA, *continuous_shapes())


def merge_weights(kind: str, count: int) -> tuple[float, ...]:
    """Return the weights of ``count`` checkpoints, oldest first; they add up to 1.

    Args:
        kind: ``mean`` for equal weights; ``ema`` for the exponential moving average whose span is ``count``, so each
            checkpoint has (count - 1) / (count + 1) times the weight of the next; or a continuous decay shape.
        count: The number of checkpoints that are merged, at least 1.

    Raises:
        ValueError: The kind is unknown, or there is no checkpoint.
    """
    if count < 1:
        raise ValueError(f"{count} checkpoints cannot be merged")
    if kind == MEAN:
        return (1 / count,) * count
    if kind == EMA:
        ratio = (count - 1) / (count + 1)
        powers = [ratio**age for age in reversed(range(count))]
        return tuple(power / sum(powers) for power in powers)
    if kind not in continuous_shapes():
        raise ValueError(f"weights {kind!r} are none of {', '.join(merge_kinds())}")
    left = SHAPES[kind].left
    assert left is not None
    shares = [left(place / count) for place in range(count)] + [0.0]
    return tuple(share - following for share, following in pairwise(shares))
