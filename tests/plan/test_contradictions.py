"""Impossible forks: what is offered instead is accepted."""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_lrps.errors import PlanError
from tests.plan.plans import tree_of, versions


def refusal(*sizes: int, alpha: float, warm: int) -> PlanError | None:
    """Why the plan of versions of these sizes is refused; None: it is not."""
    try:
        tree_of(versions=versions(*sizes), decay={"alpha": alpha}, lr={"warmup_iters": warm})
    except PlanError as error:
        return error
    return None


def test_a_first_version_of_one_iteration_can_only_be_longer() -> None:
    error = refusal(1, alpha=0.6, warm=0)
    assert error
    assert error.what == "versions.v1: alpha 0.6 of 1 iterations is less than one iteration."
    assert error.fix == "make the version at least 2 iterations long."


def test_every_fix_that_works_is_offered() -> None:
    error = refusal(1000, alpha=0.6, warm=401)
    assert error
    assert error.fix == (
        "lower decay.alpha to 0.598 or less, or lower lr.warmup_iters to 399 or less, "
        "or make the version at least 1004 iterations long."
    )


def test_a_whole_window_of_one_iteration_has_no_fix_of_one_key() -> None:
    error = refusal(1, alpha=1.0, warm=0)
    assert error
    assert error.fix == "make the version longer, and lower decay.alpha."


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_each_fix_is_accepted(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=3))
    alpha = data.draw(st.integers(1, 1000)) / 1000
    warm = data.draw(st.integers(0, 70))
    error = refusal(*sizes, alpha=alpha, warm=warm)
    if error is None or not (found := re.match(r"versions\.v(\d): (alpha|the branch)", error.what)):
        return
    number = int(found[1]) - 1

    def alone(**keys: Any) -> str:
        """What is still wrong with this version."""
        given = {"alpha": alpha, "warm": warm, "sizes": sizes} | keys
        again = refusal(*given["sizes"], alpha=given["alpha"], warm=given["warm"])
        return again.what if again and re.match(rf"versions\.v{number + 1}: |path main", again.what) else ""

    fixes = re.findall(r"(alpha|warmup_iters|at least)(?: to)? ([0-9.e-]+)", error.fix)
    assert fixes or error.fix == "make the version longer, and lower decay.alpha."
    for key, value in fixes:
        if key == "alpha":
            assert alone(alpha=float(value)) == ""
        elif key == "warmup_iters":
            assert alone(warm=int(value)) == ""
        else:
            longer = [*sizes]
            longer[number] = int(value)
            assert alone(sizes=longer) == ""
