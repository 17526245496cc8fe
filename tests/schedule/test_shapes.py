"""Decay shapes, by hand and as properties."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_lrps.schedule import CONTINUOUS, SHAPES, STOCK_WSD_STYLES

EVERY_CONTINUOUS = sorted(CONTINUOUS)
shares = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    ("shape", "x", "left"),
    [
        ("cosine", 0.5, 0.5),
        ("cosine", 1 / 3, 0.75),  # cos 60 degrees = 1/2
        ("cosine", 2 / 3, 0.25),
        ("linear", 0.25, 0.75),
        ("linear", 0.5, 0.5),
        ("1-sqrt", 0.25, 0.5),
        ("1-sqrt", 0.01, 0.9),
        ("exponential", 0.5, math.sqrt(2) - 1),
        ("exponential", math.log2(4 / 3), 0.5),  # 2 * 3/4 - 1
    ],
)
def test_what_is_left_at_a_share(shape: str, x: float, left: float) -> None:
    assert CONTINUOUS[shape](x) == pytest.approx(left, rel=1e-15, abs=1e-15)


@pytest.mark.parametrize("shape", EVERY_CONTINUOUS)
def test_begins_at_one_and_ends_at_zero_exactly(shape: str) -> None:
    assert CONTINUOUS[shape](0.0) == 1.0
    assert CONTINUOUS[shape](1.0) == 0.0


@pytest.mark.parametrize("shape", EVERY_CONTINUOUS)
@settings(deadline=None, max_examples=200)
@given(pair=st.tuples(shares, shares))
def test_falls_and_stays_in_range(shape: str, pair: tuple[float, float]) -> None:
    early, late = (CONTINUOUS[shape](x) for x in sorted(pair))
    assert 1.0 >= early >= late >= 0.0


def test_names_a_plan_may_say() -> None:
    assert SHAPES == ("cosine", "knee", "multi-step", "linear", "1-sqrt", "exponential")
    assert set(SHAPES) - set(CONTINUOUS) == {"knee", "multi-step"}
    assert set(STOCK_WSD_STYLES) == set(CONTINUOUS)
