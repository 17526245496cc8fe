"""The chain of windows: which sample of which window stands at a position, and the orders in which they are read."""

import itertools
from typing import Any

import pytest

from megatron_lrps.training.timeline import Chained, Mixed, Timeline, WindowSamples


class Numbers:
    """A data set whose samples say where they come from."""

    def __init__(self, name: str, length: int) -> None:
        self.name, self.length = name, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"from": f"{self.name}{index}"}


def window(name: str, length: int, surplus: int = 0) -> WindowSamples:
    # Megatron's data set may be longer than what was asked for.
    return WindowSamples(version=name, length=length, samples=Numbers(name, length + surplus))


def read(timeline: Timeline) -> list[str]:
    return [timeline[position]["from"] for position in range(len(timeline))]


def test_windows_follow_each_other() -> None:
    timeline = Timeline([window("a", 3, surplus=2), window("b", 1), window("c", 2)], Chained(6))
    assert read(timeline) == ["a0", "a1", "a2", "b0", "c0", "c1"]
    assert [timeline.locate(position) for position in (0, 2, 3, 4)] == [(0, 0), (0, 2), (1, 0), (2, 0)]


def test_more_windows_change_nothing_before_them() -> None:
    short = Timeline([window("a", 3)], Chained(3))
    long = Timeline([window("a", 3), window("b", 5)], Chained(8))
    assert read(long)[:3] == read(short)


def test_mixed_reads_each_sample_once() -> None:
    timeline = Timeline([window("a", 3), window("b", 4)], Mixed(7, seed=1))
    assert sorted(read(timeline)) == ["a0", "a1", "a2", "b0", "b1", "b2", "b3"]
    assert read(timeline) != sorted(read(timeline))


@pytest.mark.parametrize("position", [-1, 4])
def test_there_is_nothing_outside(position: int) -> None:
    with pytest.raises(IndexError, match=f"position {position} is outside of the timeline's 4 samples"):
        Timeline([window("a", 4)], Chained(4))[position]


def test_a_window_that_the_path_has_passed_gives_nothing() -> None:
    timeline = Timeline([WindowSamples(version="a", length=3, samples=None), window("b", 2)], Chained(5))
    assert timeline[3] == {"from": "b0"}
    with pytest.raises(IndexError, match="position 2 lies in window a, which this path has passed"):
        timeline[2]


def test_an_order_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="the order has 5 samples, the windows have 4"):
        Timeline([window("a", 4)], Chained(5))


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
