"""Segments and schedules: positions, forks, pasts, JSON."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_lrps.schedule import (
    SHAPES,
    Batches,
    DecaySpec,
    Schedule,
    Segment,
    branch_decay,
    continuous_shapes,
    hold_for_ever,
    warmup,
    whole_decay,
)

LR = {"max_lr": 3e-4, "min_lr": 3e-5}


def hold(start: int, end: int | None) -> Segment:
    return Segment(kind="hold", start=start, end=end)


def decay(start: int, end: int, shape: str = "cosine") -> Segment:
    return Segment(kind="decay", start=start, end=end, shape=shape)


def factor(start: int, end: int, value: float) -> Segment:
    return Segment(kind="factor", start=start, end=end, factor=value)


def main_path(warm: int) -> Schedule:
    return Schedule((*warmup(warm), *hold_for_ever(warm)))


@st.composite
def branches(draw: st.DrawFn) -> tuple[Schedule, int, int, int]:
    """(branch, fork, end, batch), in samples, as a plan's lrps paradigm makes them."""
    batch = draw(st.integers(1, 64))
    warm = draw(st.integers(0, 20))
    fork = draw(st.integers(max(warm, 1), 60))
    length = draw(st.integers(4, 50))
    spec = DecaySpec(shape=draw(st.sampled_from([*SHAPES])))
    pieces = branch_decay(spec, fork * batch, (fork + length) * batch, batches=Batches.of(batch))
    schedule = main_path(warm * batch).followed_by(pieces, fork * batch)
    return schedule, fork * batch, (fork + length) * batch, batch


@st.composite
def wholes(draw: st.DrawFn) -> tuple[Schedule, int, int]:
    """(schedule, end, batch), in samples, as ptfs makes them."""
    batch = draw(st.integers(1, 64))
    warm = draw(st.integers(0, 5))
    length = draw(st.integers(20, 80))
    spec = DecaySpec(shape=draw(st.sampled_from([*SHAPES])), hold=draw(st.sampled_from([0.0, 0.5, 0.8])))
    pieces = whole_decay(spec, 0, length * batch, after=warm * batch, batches=Batches.of(batch))
    return Schedule((*warmup(warm * batch), *pieces)), length * batch, batch


# By hand


def test_warmup_holds_and_decays() -> None:
    schedule = Schedule((*warmup(100), hold(100, 600), decay(600, 1000)))
    at = {position: schedule.lr(position, **LR) for position in (0, 25, 50, 100, 101, 600, 800, 1000, 1001)}
    expected = {0: 0, 25: 7.5e-5, 50: 1.5e-4, 100: 3e-4, 101: 3e-4, 600: 3e-4, 800: 1.65e-4, 1000: 3e-5, 1001: 3e-5}
    assert at == pytest.approx(expected, rel=1e-14)


def test_warmup_starts_at_its_initial_lr() -> None:
    schedule = main_path(100)
    assert schedule.lr(0, init_lr=1e-4, **LR) == 1e-4
    assert schedule.lr(50, init_lr=1e-4, **LR) == pytest.approx(2e-4)
    assert schedule.lr(10**12, init_lr=1e-4, **LR) == 3e-4


def test_a_factor_is_of_max_and_never_below_min() -> None:
    schedule = Schedule((factor(0, 10, 0.5), factor(10, 20, 0.01)))
    assert schedule.lr(0, **LR) == 1.5e-4
    assert schedule.lr(9, **LR) == 1.5e-4
    assert schedule.lr(10, **LR) == 3e-5  # 0.01 of max would be 3e-6
    assert schedule.lr(20, **LR) == 3e-5


def test_past_the_last_segment_is_min() -> None:
    assert Schedule((hold(0, 10),)).lr(9, **LR) == 3e-4
    assert Schedule((hold(0, 10),)).lr(10, **LR) == 3e-5
    assert Schedule((factor(0, 10, 0.5),)).lr(10, **LR) == 3e-5
    assert Schedule((decay(0, 10, "linear"),)).lr(11, **LR) == 3e-5


def test_each_parameter_group_has_its_own_range() -> None:
    schedule = Schedule((decay(0, 10, "linear"),))
    assert schedule.lr(5, max_lr=2.0, min_lr=1.0) == 1.5
    assert schedule.lr(5, max_lr=4.0, min_lr=0.0) == 2.0


def test_a_negative_position_is_refused() -> None:
    with pytest.raises(ValueError, match="position -1 is negative"):
        main_path(0).lr(-1, **LR)


# Construction


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "bogus", "start": 0, "end": 1},
        {"kind": ["hold"], "start": 0, "end": 1},
        {"kind": "decay", "start": 0, "end": None, "shape": "cosine"},
        {"kind": "warmup", "start": 0, "end": None},
        {"kind": "hold", "start": 5, "end": 5},
        {"kind": "hold", "start": 5, "end": 4},
        {"kind": "decay", "start": 0, "end": 1},
        {"kind": "decay", "start": 0, "end": 1, "shape": "knee"},
        {"kind": "hold", "start": 0, "end": 1, "shape": "cosine"},
        {"kind": "hold", "start": 0, "end": 1, "shape": "bogus"},
        {"kind": "factor", "start": 0, "end": 1},
        {"kind": "hold", "start": 0, "end": 1, "factor": 0.5},
        {"kind": "factor", "start": 0, "end": 1, "factor": float("nan")},
        {"kind": "factor", "start": 0, "end": 1, "factor": 1.5},
        {"kind": "factor", "start": 0, "end": 1, "factor": -0.5},
        {"kind": "factor", "start": 0, "end": 1, "factor": "0.5"},
        {"kind": "hold", "start": 0.0, "end": 1},
        {"kind": "hold", "start": False, "end": 1},
        {"kind": "hold", "start": 0, "end": 1.5},
        {"kind": "hold", "start": 0, "end": "9"},
        {"kind": "hold", "start": "0", "end": 9},
        {"kind": "hold", "start": 0, "end": 1, "colour": "red"},
        {"kind": "hold", "end": 1},
    ],
    ids=str,
)
def test_from_json_refuses_what_is_no_segment(fields: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Schedule.from_json([fields])


@pytest.mark.parametrize(
    "segments",
    [
        (),
        (hold(1, None),),
        (hold(0, 10), decay(11, 20)),
        (hold(0, 10), decay(9, 20)),
        (hold(0, None), decay(10, 20)),
        (hold(0, 10), Segment(kind="warmup", start=10, end=20)),
    ],
    ids=["empty", "late start", "gap", "overlap", "after an endless hold", "second warm-up"],
)
def test_a_schedule_is_contiguous_from_zero(segments: tuple[Segment, ...]) -> None:
    with pytest.raises(ValueError):
        Schedule(segments)


@pytest.mark.parametrize("data", [None, 3, "text", [3], [None], ["text"], {"kind": "hold"}])
def test_from_json_refuses_what_is_no_list_of_segments(data: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Schedule.from_json(data)


# Pasts and forks


def test_until_cuts_holds_and_keeps_where_a_decay_leads() -> None:
    schedule = Schedule((*warmup(100), hold(100, 600), decay(600, 1000)))
    assert schedule.until(0) == ()
    assert schedule.until(50) == warmup(100)  # a warm-up's slope is its end
    assert schedule.until(300) == (*warmup(100), hold(100, 300))
    assert schedule.until(600) == (*warmup(100), hold(100, 600))
    cut = Segment(kind="decay", start=600, end=700, shape="cosine", whole_end=1000)
    assert schedule.until(700) == (*warmup(100), hold(100, 600), cut)
    assert schedule.until(800) != Schedule((*warmup(100), hold(100, 600), decay(600, 900))).until(800)
    assert schedule.until(5000) == schedule.segments


def test_one_hold_in_however_many_pieces() -> None:
    assert Schedule((hold(0, 10), hold(10, 30), hold(30, None))).until(40) == (hold(0, 40),)


def test_one_factor_in_however_many_pieces() -> None:
    pieces = Schedule((factor(0, 10, 0.5), factor(10, 30, 0.5), factor(30, 50, 0.1)))
    assert pieces.until(40) == (factor(0, 30, 0.5), factor(30, 40, 0.1))


def test_a_fork_keeps_the_past_and_takes_the_future() -> None:
    branch = main_path(100).followed_by((decay(600, 1000),), 600)
    assert branch == Schedule((*warmup(100), hold(100, 600), decay(600, 1000)))
    assert branch.followed_by((decay(1000, 1500),), 1000).segments[-2:] == (decay(600, 1000), decay(1000, 1500))


@pytest.mark.parametrize("at", [50, 601, 999])
def test_no_fork_inside_a_warmup_or_a_decay(at: int) -> None:
    schedule = Schedule((*warmup(100), hold(100, 600), decay(600, 1000)))
    with pytest.raises(ValueError, match=f"sample {at} lies inside the"):
        schedule.followed_by((hold(at, None),), at)


def test_a_decay_that_its_path_cuts_keeps_its_curve_and_is_no_stock_schedule() -> None:
    cut = Schedule((decay(0, 400, "linear"),)).followed_by((hold(100, None),), 100, cut=True)
    assert cut.lr(50, **LR) == Schedule((decay(0, 400, "linear"),)).lr(50, **LR)
    assert Schedule.from_json(json.loads(json.dumps(cut.to_json()))) == cut
    assert cut.until(100) == (Segment(kind="decay", start=0, end=100, shape="linear", whole_end=400),)
    assert Schedule(cut.until(100)).stock() == ("constant", None, None)
    with pytest.raises(ValueError, match="sample 50 lies inside the decay that ends at sample 100"):
        cut.followed_by((hold(50, None),), 50)
    for fields in ({"whole_end": 100}, {"whole_end": 50}, {"kind": "hold", "shape": None, "whole_end": 400}):
        with pytest.raises(ValueError, match=r"whole end|cannot be cut"):
            Segment(**{"kind": "decay", "start": 0, "end": 100, "shape": "linear"} | fields)


def test_a_fork_at_the_warmups_end_and_at_zero() -> None:
    assert main_path(100).followed_by((decay(100, 200),), 100) == Schedule((*warmup(100), decay(100, 200)))
    assert main_path(0).followed_by((decay(0, 200),), 0) == Schedule((decay(0, 200),))


def test_the_nearest_stock_schedule() -> None:
    assert main_path(100).stock() == ("constant", None, None)
    for shape, style in [("cosine", "cosine"), ("1-sqrt", "minus_sqrt"), ("exponential", "exponential")]:
        branch = Schedule((*warmup(100), hold(100, 600), decay(600, 1000, shape)))
        assert branch.stock() == ("WSD", style, 400)
    stepped = Schedule((hold(0, 10), factor(10, 20, 0.1)))
    twice = Schedule((decay(0, 10), decay(10, 20)))
    assert stepped.stock() == twice.stock() == ("constant", None, None)


def test_warmup_length() -> None:
    assert main_path(100).warmup == 100
    assert main_path(0).warmup == 0


# Properties


@settings(deadline=None, max_examples=150)
@given(branches())
def test_a_branch_begins_where_main_is(generated: tuple[Schedule, int, int, int]) -> None:
    branch, fork, _, _ = generated
    main = main_path(branch.warmup)
    for position in {0, fork // 2, fork - 1}:
        assert branch.lr(position, **LR) == main.lr(position, **LR)
    assert branch.until(fork) == main.until(fork)
    if branch.segments[-1].kind == "decay":  # continuous: one ulp for min + 1.0 * (max - min)
        assert branch.lr(fork, **LR) == pytest.approx(main.lr(fork, **LR), rel=2.0**-52)


@settings(deadline=None, max_examples=150)
@given(branches(), st.floats(1e-6, 1.0), st.floats(0.0, 1.0))
def test_a_branch_falls_to_min_exactly(generated: tuple[Schedule, int, int, int], max_lr: float, share: float) -> None:
    branch, fork, end, batch = generated
    min_lr = max_lr * share
    rates = [branch.lr(position, max_lr=max_lr, min_lr=min_lr) for position in range(fork, end + 1, batch)]
    # At the fork the formula's min + 1.0 * (max - min) may be one ulp off max, as in stock.
    assert all(min_lr <= rate <= max_lr * (1 + 2.0**-52) for rate in rates)
    if branch.warmup != fork:  # at its very end the warm-up's formula holds, also one ulp off
        assert all(early >= late for early, late in pairwise(rates))
    assert rates[-1] == min_lr
    assert branch.lr(end + batch, max_lr=max_lr, min_lr=min_lr) == min_lr


@settings(deadline=None, max_examples=150)
@given(wholes())
def test_a_whole_schedule_rises_once_and_falls_to_min(generated: tuple[Schedule, int, int]) -> None:
    schedule, end, batch = generated
    rates = [schedule.lr(position, **LR) for position in range(0, end + 1, batch)]
    top = schedule.warmup // batch
    assert rates[:top] == sorted(rates[:top])
    assert rates[top] == pytest.approx(3e-4, rel=2.0**-52)
    fall = rates[top + 1 :]
    assert fall == sorted(fall, reverse=True)
    assert rates[-1] == 3e-5
    assert all(3e-5 <= rate <= 3e-4 * (1 + 2.0**-52) for rate in rates[top:])


@settings(deadline=None, max_examples=200)
@given(branches(), branches(), st.integers(1, 120))
def test_equal_pasts_gave_equal_rates(
    one: tuple[Schedule, int, int, int], two: tuple[Schedule, int, int, int], iterations: int
) -> None:
    for first, second in [(one[0], two[0]), (one[0], main_path(one[0].warmup)), (two[0], one[0])]:
        position = iterations * one[3]
        same = all(first.lr(at, **LR) == second.lr(at, **LR) for at in range(position))
        if first.until(position) == second.until(position):
            assert same
        elif position >= max(one[2], two[2]):  # both were trained to their ends
            assert not same


@settings(deadline=None, max_examples=150)
@given(branches(), st.data())
def test_forking_again_inside_the_hold_changes_nothing_before(
    generated: tuple[Schedule, int, int, int], data: st.DataObject
) -> None:
    branch, fork, _, batch = generated
    at = data.draw(st.integers(max(branch.warmup // batch, 1), fork // batch)) * batch
    again = branch.followed_by(hold_for_ever(at), at)
    assert again.until(at) == branch.until(at)
    # Continued on the hold, it is the main path again, whatever it was forked off.
    assert again.until(10 * fork) == main_path(branch.warmup).until(10 * fork)


@settings(deadline=None, max_examples=150)
@given(st.one_of(branches(), wholes()))
def test_json_round_trip(generated: tuple[Any, ...]) -> None:
    schedule = generated[0]
    assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule
    assert {item.get("shape") for item in schedule.to_json()} <= {None, *continuous_shapes()}


def test_json_keys() -> None:
    schedule = Schedule((*warmup(10), hold(10, 20), decay(20, 30), factor(30, 40, 0.1), hold(40, None)))
    assert schedule.to_json() == [
        {"kind": "warmup", "start": 0, "end": 10},
        {"kind": "hold", "start": 10, "end": 20},
        {"kind": "decay", "start": 20, "end": 30, "shape": "cosine"},
        {"kind": "factor", "start": 30, "end": 40, "factor": 0.1},
        {"kind": "hold", "start": 40, "end": None},
    ]
