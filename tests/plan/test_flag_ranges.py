"""Numbers that Megatron's parser takes and its training does not."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.flag_ranges import refuse_out_of_range, refuse_without_gpu
from megatron_lrps.plan.flags import path_flags
from tests.plan.plans import tree_of


def refused(flags: dict[str, Any]) -> str:
    with pytest.raises(PlanError) as refusal:
        refuse_out_of_range(flags, "--")
    return str(refusal.value)


@pytest.mark.parametrize(
    ("flag", "value", "range_"),
    [
        ("num-layers", 0, "1 or more"),
        ("num-layers", -2, "1 or more"),
        ("hidden-size", "-64", "1 or more"),  # in quotes
        ("micro-batch-size", 0, "1 or more"),
        ("tensor-model-parallel-size", 0, "1 or more"),
        ("log-interval", 0, "1 or more"),
        ("save-interval", 0, "1 or more"),
        ("seed", 0, "1 or more"),
        ("rotary-base", 0, "1 or more"),
        ("norm-epsilon", 0.0, "above 0"),
        ("clip-grad", -1.0, "0 or more"),
        ("weight-decay", -0.1, "0 or more"),
        ("loss-scale", -1, "0 or more"),
        ("hidden-dropout", 2.0, "0 or more and below 1"),
        ("adam-beta1", 1, "0 or more and below 1"),
        ("rotary-percent", 1.5, "above 0 and at most 1"),
    ],
)
def test_a_number_out_of_its_range_is_named(flag: str, value: object, range_: str) -> None:
    assert f"--{flag}: {float(str(value)):g} is out of range. Fix: give a number that is {range_}." in refused(
        {flag: value}
    )


def test_numbers_at_the_ends_of_their_ranges_are_taken() -> None:
    ends = {
        "num-layers": 1, "clip-grad": 0.0, "hidden-dropout": 0.0, "adam-beta2": 0.999, "rotary-percent": 1.0,
        "num-experts": 0, "mtp-num-layers": 0, "eval-interval": 0, "weight-decay": 0, "adam-eps": 0,
    }  # fmt: skip
    refuse_out_of_range(ends, "--")


@pytest.mark.parametrize("value", [None, True, "many", [1, 2]])
def test_what_is_no_number_is_left_to_others(value: object) -> None:
    refuse_out_of_range({"num-layers": value}, "--")


def test_numbers_that_do_not_go_together() -> None:
    heads = {"num-attention-heads": 4, "num-query-groups": 3}
    assert "--num-query-groups: 3 does not divide num-attention-heads 4" in refused(
        {**heads, "group-query-attention": True}
    )
    refuse_out_of_range(heads, "--")  # without groups Megatron does not look at their number
    experts = {"num-experts": 2, "moe-router-topk": 4}
    assert "--moe-router-topk: 4 experts for each token are more than num-experts 2" in refused(experts)
    refuse_out_of_range({"moe-router-topk": 2}, "--")  # its default, without experts


def test_a_signal_that_is_none() -> None:
    assert "--exit-signal: SIGFOO is not a signal" in refused({"exit-signal": "SIGFOO"})
    refuse_out_of_range({"exit-signal": "SIGTERM"}, "--")


@pytest.mark.parametrize(
    ("flag", "value"),
    [("fp8-format", "hybrid"), ("context-parallel-size", 2), ("fp4-format", "e2m1")],
)
def test_what_the_cpu_has_not(flag: str, value: object) -> None:
    with pytest.raises(PlanError, match=f"--{flag}: {value} needs a GPU"):
        refuse_without_gpu({flag: value}, "--")
    refuse_without_gpu({"context-parallel-size": 1, "sequence-parallel": True, "fp8-format": None}, "--")


def test_a_plan_goes_through_both() -> None:
    tree = tree_of(megatron={"num-layers": 0})
    with pytest.raises(PlanError, match=r"megatron\.num-layers: 0 is out of range"):
        path_flags(tree, tree.paths[0])
    flags = {"fp8-format": "hybrid"}
    tree = tree_of(megatron=flags, launch={"device": "cpu"})
    with pytest.raises(PlanError, match=r"megatron\.fp8-format: hybrid needs a GPU"):
        path_flags(tree, tree.paths[0])
    tree = tree_of(megatron=flags)
    assert path_flags(tree, tree.paths[0])["fp8-format"] == "hybrid"
