"""What a path is evaluated on: `valid` alone says it."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.flags import argument_line, path_flags
from megatron_lrps.plan.validation_flags import DECIDED
from tests.plan.plans import assert_one_clear_line, tree_of, versions

WHOLE = {"full-validation": True, "multiple-validation-sets": True}


def line(path: str = "v1", *, valid: bool, of: int = 0, **keys: Any) -> list[str]:
    """The evaluation's part of a path's argument line; the version ``of`` has a validation set, or none has."""
    named = versions(1000, 1000)
    named[of] |= {"valid": {"web": "data/web"}} if valid else {}
    tree = tree_of(versions=named, **keys)
    flags = path_flags(tree, tree.path(path))
    return argument_line({flag: flags[flag] for flag in (*DECIDED, "eval-interval") if flag in flags})


def test_a_plan_with_sets_evaluates_them_whole() -> None:
    whole = ["--eval-iters", "1", "--validation-set-names", "v1-web", "--full-validation", "--multiple-validation-sets"]
    assert line(valid=True) == [*whole, "--eval-interval", "1000"]
    # What the plan says already may be repeated, and an interval past the end evaluates there alone.
    assert line(valid=True, megatron={**WHOLE, "eval-interval": 10**6}) == [*whole, "--eval-interval", "1000000"]
    assert line(valid=True, megatron={"eval-interval": "50"}) == [*whole, "--eval-interval", "50"]


def test_a_path_without_sets_evaluates_nothing() -> None:
    none = ["--eval-iters", "0", "--eval-interval", "1000"]
    assert line(valid=False) == none
    assert line(valid=False, megatron={"eval-iters": 0, "full-validation": False}) == none
    # v1 reads none of v2's window, whose set the flag is for.
    assert line(valid=True, of=1, megatron=WHOLE) == none
    assert "v2-web" in line("v2", valid=True, of=1, megatron=WHOLE)


@pytest.mark.parametrize(
    ("valid", "flag", "value", "says"),
    [
        (False, "eval-iters", 10, ("10 asks for an evaluation, but no version has validation data", "valid: {web")),
        (False, "eval-iters", "10", ("'10' asks for an evaluation",)),
        (False, "full-validation", True, ("True asks for an evaluation", "remove full-validation")),
        (False, "multiple-validation-sets", True, ("True asks for an evaluation",)),
        (False, "validation-set-names", ["a"], ("['a'] asks for an evaluation",)),
        (True, "eval-iters", 10, ("10 is given, but versions.v1.valid", "eval-interval")),
        (True, "eval-iters", 0, ("0 is given, but versions.v1.valid", "remove `valid` to evaluate never")),
        (True, "full-validation", False, ("False is given, but versions.v1.valid",)),
        (True, "validation-set-names", ["mine"], ("['mine'] is given, but versions.v1.valid",)),
        (True, "eval-micro-batch-size", 2, ("2 is given, but Megatron reads", "versions.v1.valid")),
        (True, "eval-interval", 0, ("0 is not a number of iterations", "only at the end of a path")),
        (False, "eval-interval", 0, ("0 is not a number of iterations",)),
        (True, "eval-interval", False, ("False is not a number of iterations",)),
        (False, "skip-train", True, ("it trains nothing", "remove it")),
    ],
)
def test_what_contradicts_the_plan_is_refused(valid: bool, flag: str, value: Any, says: tuple[str, ...]) -> None:
    with pytest.raises(PlanError) as refusal:
        line(valid=valid, megatron={flag: value})
    assert_one_clear_line(refusal.value, f"megatron.{flag}: ", *says)
