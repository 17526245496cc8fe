"""Batches that rise: iterations and samples, there and back, and where a step really begins."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_lrps.schedule import Batches
from megatron_lrps.schedule.batches import Stretch

STEPS = Batches.of(2, [(4, 4), (30, 6)])
"""Iterations 1 and 2 have 2 samples, 3 to 9 have 4 (the seventh reaches sample 32), and later ones 6."""


def test_a_step_begins_where_an_iteration_ends() -> None:
    assert STEPS.stretches == (Stretch(0, 0, 2), Stretch(2, 4, 4), Stretch(9, 32, 6))
    assert [STEPS.batch_after(i) for i in range(11)] == [2, 2, 4, 4, 4, 4, 4, 4, 4, 6, 6]
    assert [STEPS.samples(i) for i in (0, 1, 2, 3, 9, 10)] == [0, 2, 4, 8, 32, 38]
    assert STEPS.between(2, 10) == 34
    assert (STEPS.last, STEPS.rises) == (6, True)
    assert STEPS.words == "2 (4 from iteration 3 on, 6 from iteration 10 on)"


def test_a_step_that_no_iteration_sees_is_none() -> None:
    # One iteration of 100 samples passes both.
    assert Batches.of(100, [(10, 200), (20, 300)]).stretches == (Stretch(0, 0, 100), Stretch(1, 100, 300))


def test_one_batch_is_a_factor() -> None:
    batches = Batches.of(8)
    assert [batches.samples(i) for i in (0, 1, 10**12)] == [0, 8, 8 * 10**12]
    assert [batches.iteration(s) for s in (0, 7, 8, 15, 16)] == [0, 0, 1, 1, 2]
    assert (batches.rises, batches.words, batches.until(5)) == (False, "8", batches)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5, unique=True).map(sorted),
    places=st.lists(st.integers(1, 400), min_size=5, max_size=5, unique=True).map(sorted),
)
def test_iterations_and_samples_go_there_and_back(sizes: list[int], places: list[int]) -> None:
    later = [*zip(places, sizes[1:], strict=False)]
    batches, consumed = Batches.of(sizes[0], later), 0
    for iteration in range(80):
        # Megatron's rule: the batch of the last threshold that has been reached.
        batch = [sizes[0], *(size for place, size in later if consumed >= place)][-1]
        assert batches.batch_after(iteration) == batch
        assert batches.samples(iteration) == consumed
        assert {batches.iteration(sample) for sample in range(consumed, consumed + batch)} == {iteration}
        assert batches.place(consumed) == iteration
        consumed += batch
    assert Batches.from_json(json.loads(json.dumps(batches.to_json()))) == batches


def test_the_nearest_end_of_an_iteration() -> None:
    one = Batches.of(8)
    assert [one.nearest(16, length) for length in (0, 3, 4, 5, 12)] == [16, 16, 24, 24, 32]
    assert [STEPS.nearest(0, length) for length in (3, 4, 5, 30, 31, 34, 35)] == [4, 4, 4, 32, 32, 32, 38]


def test_what_begins_later_is_no_past() -> None:
    assert STEPS.until(2) == Batches.of(2)
    assert STEPS.until(9) == Batches.of(2, [(4, 4)]) != STEPS.until(10) == STEPS
    assert STEPS.until(0) == Batches.of(2)


def test_a_step_inside_an_interval_is_found() -> None:
    assert STEPS.rises_in(0, 14) == Stretch(2, 4, 4)
    assert STEPS.rises_in(2, 9) is STEPS.rises_in(9, 100) is None
    assert STEPS.rises_in(8, 10) == Stretch(9, 32, 6)


@pytest.mark.parametrize(
    ("batch", "later"), [(0, []), (4, [(8, 4)]), (4, [(8, 2)]), (4, [(8, 6), (8, 8)]), (4, [(8, 6), (4, 8)])]
)
def test_batches_that_do_not_rise_are_none(batch: int, later: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="batch"):
        Batches.of(batch, later)


@pytest.mark.parametrize("data", [[], [[1, 4]], [[0, 4.0]], [[0, 4], [6, 3]], [[0, "4"]], [[0]], 3])
def test_a_record_that_is_none_is_refused(data: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Batches.from_json(data)  # type: ignore[arg-type]
