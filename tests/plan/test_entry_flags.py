"""Flags that the package's own GPT entry would ignore, refused by `lrps plan`."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.entry_flags import NOT_HONOURED, refuse_unfit_for_entry
from tests.plan.plans import assert_one_clear_line, plan_of


def check(**keys: Any) -> None:
    refuse_unfit_for_entry(plan_of(**keys))


@pytest.mark.parametrize("flag", [flag for flag in NOT_HONOURED if "legacy" not in flag])
def test_what_the_entry_ignores_is_refused_by_name(flag: str) -> None:
    with pytest.raises(PlanError) as refusal:
        check(megatron={flag: 3})
    assert_one_clear_line(refusal.value, f"megatron.{flag}: 3 would not be honoured", "python -m megatron_lrps SCRIPT")


def test_so_are_flags_of_parts_that_train_something_else() -> None:
    with pytest.raises(PlanError, match=r"megatron\.dino-teacher-temp: 0\.1 would not be honoured"):
        check(megatron={"dino-teacher-temp": 0.1})


def test_a_script_of_ones_own_may_honour_them() -> None:
    check(megatron={"sft": True, "spec": "local"}, script_flags={"my-flag": 1})
    check(megatron={"sft": False, "num-layers": 2})


@pytest.mark.parametrize("spec", ["local", ["local"], ["a", "b", "c"], ["json", 3]])
def test_a_spec_is_a_module_and_a_name(spec: Any) -> None:
    with pytest.raises(PlanError) as refusal:
        check(megatron={"spec": spec})
    assert_one_clear_line(refusal.value, "megatron.spec:", "is not a module and a name in it", "give two texts")


def test_a_spec_whose_package_is_not_here_is_refused_where_the_ranks_run_here() -> None:
    with pytest.raises(PlanError, match=r"there is no module no_such_package here, so no_such_package\.layers cannot"):
        check(megatron={"spec": ["no_such_package.layers", "spec"]})
    check(megatron={"spec": ["json.decoder", "spec"]})
    slurm = {"nodes": 1, "gpus_per_node": 8, "time": "1:00:00"}
    check(megatron={"spec": ["no_such_package.layers", "spec"]}, launch={"slurm": slurm})
