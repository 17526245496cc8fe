"""Shuffled orders are permutations, whatever the length."""

import itertools

import pytest

from megatron_lrps.training.sample_order import Chained, Mixed


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 16, 17, 255, 256, 1000, 4097])
def test_every_sample_comes_once(length: int) -> None:
    order = Mixed(length, seed=3)
    assert sorted(map(order.sample, range(length))) == list(range(length))


def test_seeds_differ_and_repeat() -> None:
    one, same, other = (list(map(Mixed(500, seed).sample, range(500))) for seed in (1, 1, 2))
    assert one == same != other


def test_the_order_is_well_mixed() -> None:
    # In a random permutation the mean distance of position and sample is a third of the length, and half of
    # the neighbours rise.
    length = 20_000
    samples = list(map(Mixed(length, seed=5).sample, range(length)))
    distance = sum(abs(sample - position) for position, sample in enumerate(samples)) / length / length
    rising = sum(a < b for a, b in itertools.pairwise(samples)) / length
    assert distance == pytest.approx(1 / 3, abs=0.01)
    assert rising == pytest.approx(1 / 2, abs=0.015)


def test_a_billion_samples_need_no_table() -> None:
    order = Mixed(10**9, seed=1)
    assert len({order.sample(position) for position in range(1000)}) == 1000
    assert all(0 <= order.sample(position) < 10**9 for position in range(10**9 - 100, 10**9))


def test_chained_is_the_timeline_itself() -> None:
    assert [Chained(5).sample(position) for position in range(5)] == [0, 1, 2, 3, 4]
