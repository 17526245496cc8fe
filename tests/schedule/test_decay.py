"""Branches and whole schedules: by hand, and against stock Megatron-Core bit for bit at every iteration."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

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

MAX, MIN = 3e-4, 3e-5
BATCH = 8
F, K = 600, 400
CONTINUOUS_SHAPES = list(continuous_shapes())


def branch(shape: str, *, fork: int = F, length: int = K, warm: int = 0, **spec: Any) -> Schedule:
    main = Schedule((*warmup(warm * BATCH), *hold_for_ever(warm * BATCH)))
    start, end = fork * BATCH, (fork + length) * BATCH
    return main.followed_by(branch_decay(DecaySpec(shape=shape, **spec), start, end, batches=Batches.of(BATCH)), start)


def whole(shape: str, *, length: int, warm: int = 0, start: int = 0, **spec: Any) -> tuple[Segment, ...]:
    first, end, after = start * BATCH, (start + length) * BATCH, (start + warm) * BATCH
    return whole_decay(DecaySpec(shape=shape, **spec), first, end, after=after, batches=Batches.of(BATCH))


def rate(schedule: Schedule, iteration: int) -> float:
    return schedule.lr(iteration * BATCH, max_lr=MAX, min_lr=MIN)


# By hand: 2.7e-4 is max - min


@pytest.mark.parametrize(
    ("shape", "quarter", "half"),
    [
        ("cosine", MIN + 2.7e-4 * (2 + math.sqrt(2)) / 4, 1.65e-4),
        ("linear", 2.325e-4, 1.65e-4),
        ("knee", 2.325e-4, 1.65e-4),  # of a branch its linear part
        ("1-sqrt", 1.65e-4, MIN + 2.7e-4 * (1 - math.sqrt(0.5))),
        ("exponential", MIN + 2.7e-4 * (2 * 0.5**0.25 - 1), MIN + 2.7e-4 * (math.sqrt(2) - 1)),
    ],
)
def test_a_continuous_branch(shape: str, quarter: float, half: float) -> None:
    curve = branch(shape)
    assert rate(curve, F) == MAX
    assert rate(curve, F + K // 4) == pytest.approx(quarter, rel=1e-14)
    assert rate(curve, F + K // 2) == pytest.approx(half, rel=1e-14)
    assert rate(curve, F + K) == MIN
    assert rate(curve, F + K + 1) == MIN
    assert rate(curve, F - 1) == MAX


def test_a_multi_step_branch_is_a_half_at_each_factor() -> None:
    curve = branch("multi-step")
    assert {rate(curve, iteration) for iteration in range(F)} == {MAX}
    assert {rate(curve, iteration) for iteration in range(F, F + 200)} == {MAX * 0.316}  # 9.48e-5
    assert {rate(curve, iteration) for iteration in range(F + 200, F + 400)} == {MIN}  # 0.1 of max is min
    assert rate(curve, F + 400) == MIN


def test_steps_of_a_branch_can_be_set() -> None:
    curve = branch("multi-step", length=4, branch_steps=((0.0, 0.5), (0.25, 0.25), (0.75, 0.2)))
    assert [rate(curve, F + i) / MAX for i in range(5)] == pytest.approx([0.5, 0.25, 0.25, 0.2, 0.1])


def test_a_whole_multi_step() -> None:
    curve = Schedule(whole("multi-step", length=1000))
    assert {rate(curve, iteration) for iteration in range(800)} == {MAX}
    assert {rate(curve, iteration) for iteration in range(800, 900)} == {MAX * 0.316}
    assert {rate(curve, iteration) for iteration in range(900, 1000)} == {MIN}  # 0.1 of max is min
    assert rate(curve, 1000) == MIN


def test_a_whole_knee_explores_for_half() -> None:
    curve = Schedule((*warmup(100 * BATCH), *whole("knee", length=1000, warm=100, hold=0.5)))
    expected = {0: 0, 50: 1.5e-4, 100: MAX, 499: MAX, 500: MAX, 750: 1.65e-4, 1000: MIN}
    assert {iteration: rate(curve, iteration) for iteration in expected} == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("shape", CONTINUOUS_SHAPES)
def test_a_whole_schedule_without_a_hold_decays_from_the_warmups_end(shape: str) -> None:
    curve = Schedule((*warmup(100 * BATCH), *whole(shape, length=1100, warm=100)))
    assert rate(curve, 100) == MAX
    assert rate(curve, 600) == rate(branch(shape, length=1000), F + 500)  # half of 1000 iterations
    assert rate(curve, 1100) == MIN


def test_cpt_restarts_at_max() -> None:
    first = Schedule(whole("cosine", length=1000))
    second = first.followed_by(whole("cosine", length=1000, start=1000), 1000 * BATCH)
    expected = {0: MAX, 500: 1.65e-4, 1000: MAX, 1500: 1.65e-4, 2000: MIN}
    assert {iteration: rate(second, iteration) for iteration in expected} == pytest.approx(expected, rel=1e-14)
    assert rate(second, 999) < 3.001e-5  # the first version came down all the way


def test_steps_and_holds_change_between_iterations() -> None:
    for pieces in (whole("multi-step", length=33), whole("knee", length=33, hold=0.5), branch("multi-step").segments):
        assert all(segment.start % BATCH == 0 and (segment.end or 0) % BATCH == 0 for segment in pieces)
    # 0.5 of 33 iterations is 16.5: the nearest boundary, halves upwards
    assert whole("knee", length=33, hold=0.5)[0].end == 17 * BATCH


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: branch("multi-step", length=1), "the step to 0.1 of max at 0.5 of 1 iterations gets none"),
        (lambda: whole("multi-step", length=2), "the step to 0.316 of max at 0.8 of 2 iterations gets none"),
        (lambda: whole("multi-step", length=4), "the step to 0.1 of max at 0.9 of 4 iterations"),
        (lambda: whole("knee", length=1, hold=0.5), "a hold for 0.5 of 1 iterations leaves none to decay in"),
        (lambda: whole("cosine", length=10, hold=0.99), "leaves none to decay in"),
        (lambda: whole("knee", length=100, warm=60, hold=0.5), "the warm-up ends at sample 480, after the hold's"),
        (lambda: whole("multi-step", length=100, warm=81), "the warm-up ends at sample 648, after the first step"),
    ],
)
def test_a_decay_that_would_not_come_down_is_refused(draw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape 'cosin' is not one of cosine, knee"):
        DecaySpec(shape="cosin")


def test_no_warmup_no_segment() -> None:
    assert warmup(0) == ()
    assert hold_for_ever(0) == (Segment(kind="hold", start=0, end=None),)


# Against stock. Its constructor reads the learning rate at position 0; step(n) moves on by n samples.


@pytest.fixture(scope="module")
def stock() -> Any:
    """Makes a stock scheduler of Megatron-Core on an optimizer with one parameter group."""
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    def make(*, warm: int = 0, end: int, style: str, wsd: tuple[str, int] | None = None, init_lr: float = 0.0) -> Any:
        return OptimizerParamScheduler(
            SimpleNamespace(param_groups=[{"lr": 0.0, "weight_decay": 0.0}]),
            init_lr=init_lr,
            max_lr=MAX,
            min_lr=MIN,
            lr_warmup_steps=warm * BATCH,
            lr_decay_steps=end * BATCH,
            lr_decay_style=style,
            start_wd=0.1,
            end_wd=0.1,
            wd_incr_steps=end * BATCH,
            wd_incr_style="constant",
            use_checkpoint_opt_param_scheduler=False,
            override_opt_param_scheduler=True,
            wsd_decay_steps=wsd[1] * BATCH if wsd else None,
            lr_wsd_decay_style=wsd[0] if wsd else None,
        )

    return make


def stock_rates(scheduler: Any, iterations: int) -> list[float]:
    """Rates of the next iterations, and what it would train the one after them with."""
    rates = [scheduler.optimizer.param_groups[0]["lr"]]
    for _ in range(iterations):
        scheduler.step(BATCH)
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
    return rates


def our_rates(schedule: Schedule, iterations: range, init_lr: float = 0.0) -> list[float]:
    return [schedule.lr(i * BATCH, max_lr=MAX, min_lr=MIN, init_lr=init_lr) for i in iterations]


@pytest.mark.parametrize(("warm", "init_lr"), [(0, 0.0), (1, 0.0), (97, 0.0), (97, 1e-5)])
def test_main_equals_stock_constant(stock: Any, warm: int, init_lr: float) -> None:
    main = Schedule((*warmup(warm * BATCH), *hold_for_ever(warm * BATCH)))
    scheduler = stock(warm=warm, end=1000, style="constant", init_lr=init_lr)
    assert our_rates(main, range(1101), init_lr) == stock_rates(scheduler, 1100)


@pytest.mark.parametrize("length", [K, 1, 3, 97])
@pytest.mark.parametrize("warm", [0, 100, F])
@pytest.mark.parametrize("shape", [*CONTINUOUS_SHAPES, "knee"])
def test_a_branch_equals_stock_wsd_loaded_with_override(stock: Any, shape: str, warm: int, length: int) -> None:
    main = stock(warm=warm, end=1000, style="constant")
    stock_rates(main, F)
    style = SHAPES["linear" if shape == "knee" else shape].stock_style or ""
    forked = stock(warm=warm, end=F + length, style="WSD", wsd=(style, length))
    forked.load_state_dict(main.state_dict())
    assert our_rates(branch(shape, length=length, warm=warm), range(F, F + length + 11)) == stock_rates(
        forked, length + 10
    )


@pytest.mark.parametrize("warm", [0, 1, 100])
@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_ptfs_equals_stock_from_scratch(stock: Any, shape: str, warm: int) -> None:
    curve = Schedule((*warmup(warm * BATCH), *whole(shape, length=1000, warm=warm)))
    assert our_rates(curve, range(1011)) == stock_rates(stock(warm=warm, end=1000, style=shape), 1010)


@pytest.mark.parametrize("shape", ["1-sqrt", "exponential"])
def test_ptfs_equals_stock_wsd_that_decays_from_its_warmup(stock: Any, shape: str) -> None:
    curve = Schedule((*warmup(100 * BATCH), *whole(shape, length=1000, warm=100)))
    scheduler = stock(warm=100, end=1000, style="WSD", wsd=(SHAPES[shape].stock_style or "", 900))
    assert our_rates(curve, range(1011)) == stock_rates(scheduler, 1010)


def test_a_ptfs_knee_equals_stock_wsd_but_for_an_ulp_of_its_hold(stock: Any) -> None:
    curve = Schedule((*warmup(100 * BATCH), *whole("knee", length=1000, warm=100, hold=0.5)))
    ours = our_rates(curve, range(1011))
    theirs = stock_rates(stock(warm=100, end=1000, style="WSD", wsd=("linear", 500)), 1010)
    # Stock computes its hold, min + 1.0 * (max - min); ours is max, as the constant main path's is.
    assert set(ours[101:500]) == {MAX}
    assert set(theirs[101:500]) == {MIN + 1.0 * (MAX - MIN)}
    assert abs(MIN + 1.0 * (MAX - MIN) - MAX) <= math.ulp(MAX)
    assert ours[:101] == theirs[:101]
    assert ours[500:] == theirs[500:]
