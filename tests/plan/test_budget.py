"""What a budget makes of four versions of 1,000 iterations: main takes 4,000 of PTFS's 10,000."""

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.budget import Budget, spend
from tests.plan.plans import assert_one_clear_line, tree_of, versions

TREE = tree_of(versions=versions(1000, 1000, 1000, 1000), decay={"shape": "linear", "alpha": 0.6})


def unknown(version: str, alpha: float | None) -> None:
    return None


def alphas(budget: Budget) -> dict[str, float | None]:
    return {choice.version: choice.alpha for choice in budget.choices}


@pytest.mark.parametrize(
    ("share", "chosen", "iterations"),
    [
        (0.4, [None, None, None, 0.6], 4000),  # the floor: only the last branch is free
        (0.45, [None, None, None, 0.6], 4000),  # 500 are left, and a branch of alpha 0.6 takes 600
        (0.46, [None, None, 0.6, 0.6], 4600),
        (0.52, [None, 0.6, 0.6, 0.6], 5200),
        (0.58, [0.6, 0.6, 0.6, 0.6], 5800),  # the paper's
        (1.0, [0.6, 0.6, 0.6, 0.6], 5800),
    ],
)
def test_without_a_forecast_the_newest_versions_become_branches_first(
    share: float, chosen: list[float | None], iterations: int
) -> None:
    found = spend(TREE, share, fixed={}, loss=unknown)
    assert [*alphas(found).values()] == chosen
    assert (found.iterations, found.ptfs) == (iterations, 10_000)


def test_a_forecast_spends_the_budget_where_an_iteration_gains_most() -> None:
    # v2 gains 0.2 by its first 100 iterations, v1 and v3 0.1; longer branches gain nothing more
    gains = {"v1": 0.1, "v2": 0.2, "v3": 0.1, "v4": -0.5}

    def loss(version: str, alpha: float | None) -> float:
        return 3.0 if alpha is None else 3.0 - gains[version]

    assert alphas(spend(TREE, 0.41, fixed={}, loss=loss)) == {"v1": None, "v2": 0.1, "v3": None, "v4": None}
    assert alphas(spend(TREE, 0.6, fixed={}, loss=loss)) == {"v1": 0.1, "v2": 0.1, "v3": 0.1, "v4": None}


def test_what_is_trained_stays_and_counts() -> None:
    found = spend(TREE, 0.5, fixed={"v1": "it is trained"}, loss=unknown)
    assert alphas(found) == {"v1": 0.6, "v2": None, "v3": None, "v4": 0.6}
    assert found.iterations == 4000 + 600
    assert found.choices[0].why == "it is trained"


def test_a_choice_says_the_keys_that_make_it_and_they_cost_what_it_says() -> None:
    found = spend(TREE, 0.47, fixed={}, loss=unknown)
    named = zip(versions(1000, 1000, 1000, 1000), found.choices, strict=True)
    tree = tree_of(versions=[each | choice.keys for each, choice in named], decay={"shape": "linear"})
    assert sum(path.iterations for path in tree.paths) == found.iterations


def test_a_budget_below_main_is_refused_with_the_least() -> None:
    with pytest.raises(PlanError) as refused:
        spend(TREE, 0.39, fixed={}, loss=unknown)
    assert_one_clear_line(refused.value, "3,900", "4,000", "0.40 or more")
    with pytest.raises(PlanError) as refused:
        spend(tree_of(paradigm="ptfs"), 0.5, fixed={}, loss=unknown)
    assert_one_clear_line(refused.value, "main path")
    with pytest.raises(PlanError) as refused:
        spend(tree_of(branch={"soup": 2}), 0.9, fixed={}, loss=unknown)
    assert_one_clear_line(refused.value, "v1 is a soup", "branch.soup")
