"""The scheduler's state: complete, idempotent, read by stock Megatron and reading stock's."""

import json
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from megatron_lrps.errors import RefusedError
from megatron_lrps.schedule import Batches, DecaySpec, Schedule, branch_decay, hold_for_ever, warmup
from megatron_lrps.training.megatron.scheduler import PathSwitchingScheduler

BATCH, WARM, FORK, END = 8, 80, 4800, 8000
MAX, MIN = 3e-4, 3e-5
MAIN = Schedule((*warmup(WARM), *hold_for_ever(WARM)))


def branch(shape: str = "cosine") -> Schedule:
    return MAIN.followed_by(branch_decay(DecaySpec(shape=shape), FORK, END, batches=Batches.of(BATCH)), FORK)


def groups() -> SimpleNamespace:
    """One plain group, and one with an LR pair of its own (as --decoupled-lr makes)."""
    return SimpleNamespace(param_groups=[{}, {"max_lr": 1e-3, "min_lr": 1e-4, "wd_mult": 0.0}])


def ours(schedule: Schedule, **changes: Any) -> PathSwitchingScheduler:
    fields: dict[str, Any] = {
        "lr_warmup_init": 0.0,
        "lr": MAX,
        "min_lr": MIN,
        "start_weight_decay": 0.1,
        "end_weight_decay": 0.1,
    }
    return PathSwitchingScheduler(groups(), schedule, Namespace(**{**fields, **changes}), end=END)


def stock(style: str, *, override: bool = False, **changes: Any) -> OptimizerParamScheduler:
    fields: dict[str, Any] = {
        "init_lr": 0.0,
        "max_lr": MAX,
        "min_lr": MIN,
        "lr_warmup_steps": WARM,
        "lr_decay_steps": END,
        "lr_decay_style": style,
        "start_wd": 0.1,
        "end_wd": 0.1,
        "wd_incr_steps": END,
        "wd_incr_style": "constant",
        "use_checkpoint_opt_param_scheduler": False,
        "override_opt_param_scheduler": override,
    }
    return OptimizerParamScheduler(groups(), **{**fields, **changes})


def lrs(scheduler: OptimizerParamScheduler) -> list[float]:
    return [group["lr"] for group in scheduler.optimizer.param_groups]


@pytest.mark.parametrize(
    ("shape", "style"),
    [("cosine", "cosine"), ("linear", "linear"), ("1-sqrt", "minus_sqrt"), ("exponential", "exponential")],
)
def test_every_group_follows_stock_wsd_bit_for_bit(shape: str, style: str) -> None:
    main = stock("constant")
    main.step(FORK)
    theirs = stock("WSD", override=True, wsd_decay_steps=END - FORK, lr_wsd_decay_style=style)
    theirs.load_state_dict(main.state_dict())
    mine = ours(branch(shape))
    mine.load_state_dict(main.state_dict())
    for _ in range((END - FORK) // BATCH):
        mine.step(BATCH)
        theirs.step(BATCH)
        assert lrs(mine) == lrs(theirs)
    assert lrs(mine) == [MIN, 1e-4]
    assert [group["weight_decay"] for group in mine.optimizer.param_groups] == [0.1, 0.0]


def test_main_follows_stock_constant_bit_for_bit() -> None:
    mine, theirs = ours(MAIN), stock("constant")
    for _ in range(30):
        assert lrs(mine) == lrs(theirs)
        mine.step(BATCH)
        theirs.step(BATCH)
    assert lrs(mine) == [MAX, 1e-3]


def test_loading_twice_changes_nothing() -> None:
    saved = ours(branch())
    saved.step(FORK + 1600)
    again = ours(branch())
    again.load_state_dict(saved.state_dict())
    again.load_state_dict(saved.state_dict())
    assert again.num_steps == FORK + 1600
    assert lrs(again) == lrs(saved)
    assert lrs(again)[0] == pytest.approx(1.65e-4)  # half-way of a cosine


def test_a_group_resumes_with_its_weight_decay() -> None:
    # Stock sets it before the saved value is back, so its first step after a resume has a stale one.
    saved = ours(branch())
    saved.step(FORK)
    again = ours(branch())
    again.optimizer.param_groups[0]["weight_decay"] = 99.0
    again.load_state_dict(saved.state_dict())
    assert again.optimizer.param_groups[0]["weight_decay"] == 0.1


def test_stock_resumes_our_branch_with_the_same_flags_and_no_override() -> None:
    mine = ours(branch())
    mine.step(FORK + 800)
    theirs = stock("WSD", wsd_decay_steps=END - FORK, lr_wsd_decay_style="cosine")
    theirs.load_state_dict(mine.state_dict())
    mine.step(BATCH)
    theirs.step(BATCH)
    assert lrs(mine) == lrs(theirs)


def test_stock_resumes_our_main() -> None:
    mine = ours(MAIN)
    mine.step(FORK)
    theirs = stock("constant")
    theirs.load_state_dict(mine.state_dict())
    assert (theirs.num_steps, lrs(theirs)) == (FORK, lrs(mine))


def test_state_holds_primitives_only() -> None:
    state = ours(branch()).state_dict()
    assert {type(value) for value in state.values()} <= {int, float, str, type(None)}
    assert json.loads(state["lrps_schedule"]) == branch().to_json()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 1e-4}, ("max_lr", "0.0003", "0.0001")),
        ({"min_lr": 1e-5}, ("min_lr", "3e-05", "1e-05")),
        ({"start_weight_decay": 0.2, "end_weight_decay": 0.2}, ("start_wd", "0.1", "0.2")),
    ],
)
def test_another_value_is_refused_with_both(change: dict[str, Any], words: tuple[str, ...]) -> None:
    saved = ours(MAIN)
    saved.step(FORK)
    with pytest.raises(RefusedError) as refusal:
        ours(branch(), **change).load_state_dict(saved.state_dict())
    assert all(word in str(refusal.value) for word in words)


def test_a_decayed_checkpoint_is_no_fork_point() -> None:
    v1 = ours(branch())
    v1.step(FORK + BATCH)
    with pytest.raises(RefusedError, match="fork from a checkpoint on the maximal path"):
        ours(MAIN).load_state_dict(v1.state_dict())


def test_a_stock_checkpoint_that_may_have_decayed_is_refused() -> None:
    theirs = stock("cosine")
    theirs.step(FORK)
    with pytest.raises(RefusedError, match="--lr-decay-style cosine"):
        ours(branch()).load_state_dict(theirs.state_dict())


def test_a_warm_up_of_another_length_is_refused() -> None:
    theirs = stock("constant", lr_warmup_steps=160)
    theirs.step(FORK)
    with pytest.raises(RefusedError, match="warmup over"):
        ours(branch()).load_state_dict(theirs.state_dict())


def test_weight_decay_that_grows_is_refused() -> None:
    with pytest.raises(RefusedError, match="--weight-decay"):
        ours(MAIN, start_weight_decay=0.0)
