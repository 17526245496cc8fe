"""Weights of a merge, by numbers that a reader can work out."""

import math

import pytest

from megatron_lrps.schedule.merge import merge_kinds, merge_weights


def test_a_mean_and_a_linear_decay_weigh_all_checkpoints_alike() -> None:
    assert merge_weights("mean", 4) == (0.25, 0.25, 0.25, 0.25)
    assert merge_weights("linear", 4) == (0.25, 0.25, 0.25, 0.25)


def test_one_minus_sqrt_favours_the_earliest() -> None:
    # w = 1, 1/2, 0 at the shares 0, 1/4, 1 of the window: of 4 checkpoints the first counts 1 - 1/2
    weights = merge_weights("1-sqrt", 4)
    assert weights[0] == 0.5
    assert weights[3] == pytest.approx(math.sqrt(1) - math.sqrt(3 / 4))
    assert list(weights) == sorted(weights, reverse=True)


def test_an_ema_favours_the_latest() -> None:
    # span 3: each has half the weight of the next
    assert merge_weights("ema", 3) == pytest.approx((1 / 7, 2 / 7, 4 / 7))
    assert merge_weights("ema", 1) == (1.0,)


@pytest.mark.parametrize("kind", merge_kinds())
@pytest.mark.parametrize("count", [1, 2, 10, 16])
def test_weights_add_up_to_one_and_none_is_negative(kind: str, count: int) -> None:
    weights = merge_weights(kind, count)
    assert len(weights) == count
    assert math.fsum(weights) == pytest.approx(1.0, abs=1e-15)
    assert min(weights) >= 0


def test_what_a_decay_leaves_of_each_update_is_what_the_weights_behind_it_add_up_to() -> None:
    # the theorem itself: an update before checkpoint j counts c_j + ... + c_(N-1) = f(j / N)
    weights = merge_weights("cosine", 5)
    for place in range(5):
        assert math.fsum(weights[place:]) == pytest.approx((1 + math.cos(math.pi * place / 5)) / 2)


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="'knee' are none of mean, ema, cosine, linear, 1-sqrt, exponential"):
        merge_weights("knee", 4)
    with pytest.raises(ValueError, match="0 checkpoints"):
        merge_weights("mean", 0)
