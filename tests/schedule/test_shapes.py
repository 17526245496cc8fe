"""Decay shapes, by hand and as properties."""

import argparse
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.keys_page import plan_markdown
from megatron_lrps.schedule import SHAPES, DecayShape, Schedule, continuous_shapes
from megatron_lrps.training.arguments import add_arguments
from tests.plan.plans import tree_of

EVERY_CONTINUOUS = sorted(continuous_shapes())
shares = st.floats(0.0, 1.0)


def left_of(shape: str, x: float) -> float:
    left = SHAPES[shape].left
    assert left is not None
    return left(x)


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
    assert left_of(shape, x) == pytest.approx(left, rel=1e-15, abs=1e-15)


@pytest.mark.parametrize("shape", EVERY_CONTINUOUS)
def test_begins_at_one_and_ends_at_zero_exactly(shape: str) -> None:
    assert left_of(shape, 0.0) == 1.0
    assert left_of(shape, 1.0) == 0.0


@pytest.mark.parametrize("shape", EVERY_CONTINUOUS)
@settings(deadline=None, max_examples=200)
@given(pair=st.tuples(shares, shares))
def test_falls_and_stays_in_range(shape: str, pair: tuple[float, float]) -> None:
    early, late = (left_of(shape, x) for x in sorted(pair))
    assert 1.0 >= early >= late >= 0.0


def test_names_a_plan_may_say() -> None:
    assert [*SHAPES] == ["cosine", "knee", "multi-step", "linear", "1-sqrt", "exponential"]
    assert set(SHAPES) - set(continuous_shapes()) == {"knee", "multi-step"}
    assert {name for name, shape in SHAPES.items() if shape.stock_style} == set(continuous_shapes())


SQUARE = DecayShape(about="falls along a parabola, (1 - x)^2", left=lambda x: (1 - x) ** 2)
STAIRS = DecayShape(about="falls in three steps", steps=((0.5, 0.5), (0.8, 0.1)), branch_steps=((0.0, 0.5), (0.9, 0.1)))


def test_a_new_shape_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "square", SQUARE)
    monkeypatch.setitem(SHAPES, "stairs", STAIRS)
    for shape, half, whole_half in (("square", 0.25, 0.25), ("stairs", 0.5, 0.5)):
        tree = tree_of(paradigm=["lrps", "ptfs"], decay={"shape": shape}, lr={"max": 1.0, "min": 0.0})
        branch, whole = tree.path("v1"), tree.path("ptfs-v1")  # (400, 1000] and (0, 1000]
        assert branch.schedule.lr(700 * 8, max_lr=1.0, min_lr=0.0) == half
        assert whole.schedule.lr(500 * 8, max_lr=1.0, min_lr=0.0) == whole_half
        assert branch.schedule.stock() == ("constant", None, None)  # stock Megatron has no such shape
        assert Schedule.from_json(branch.schedule.to_json()) == branch.schedule
    pieces = [{"kind": "square", "until": 100}]
    assert (
        tree_of(paths=[{"name": "a", "end": 100, "schedule": pieces}]).path("a").schedule.segments[0].shape == "square"
    )
    with pytest.raises(PlanError, match=r"choose one of cosine, knee, .*, square, stairs"):
        tree_of(decay={"shape": "round"})
    with pytest.raises(PlanError, match="hold is given, but the shape stairs has none"):
        tree_of(decay={"shape": "stairs", "hold": 0.5})
    page = plan_markdown()
    assert "`exponential`, `square`, `stairs` | `cosine` |" in page
    assert "; `square` falls along a parabola, (1 - x)^2; `stairs` falls in three steps." in page
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["--lrps-decay-shape", "square"]).lrps_decay_shape == "square"
