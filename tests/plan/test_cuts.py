"""``cuts``: versions besides the planned ones, off main from where it was."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.cost import cost_of
from tests.plan.plans import assert_one_clear_line, tree_of, versions

CUT = {"name": "hotfix", "fork": 700, "iters": 100}


def test_a_cut_is_a_branch_of_its_own_length() -> None:
    tree = tree_of(cuts=[CUT])  # v1 (400, 1000], v2 (1400, 2000]
    path = tree.path("hotfix")
    assert (path.kind, path.parent, path.fork, path.end, path.version) == ("branch", "main", 700, 800, "hotfix")
    assert [path.schedule.lr(i * 8, max_lr=3e-4, min_lr=3e-5) for i in (700, 750, 800)] == pytest.approx(
        [3e-4, 1.65e-4, 3e-5]
    )
    assert tree.fork_points("main") == (400, 700, 1400)
    assert [window.version.name for window in tree.windows_of(path)] == ["v1"]


def test_its_shape_may_be_its_own() -> None:
    path = tree_of(cuts=[{**CUT, "decay": {"shape": "linear"}}]).path("hotfix")
    assert path.schedule.lr(725 * 8, max_lr=1.0, min_lr=0.0) == pytest.approx(0.75)


def test_main_goes_on_to_a_cut_behind_the_last_fork() -> None:
    assert tree_of(cuts=[{**CUT, "fork": 1800}]).path("main").end == 1800


def test_what_it_costs() -> None:
    # Main 1400, branches 600 + 600; retraining from scratch: 1000 + 2000. The cut is counted besides.
    for cuts, planned in (([], 2600), ([CUT], 2700), ([{**CUT, "fork": 1800}], 3100)):  # the last has main go on by 400
        cost = cost_of(tree_of(cuts=cuts))
        assert (cost.planned, cost.lrps, cost.ptfs, cost.cpt) == (planned, 2600, 3000, 2000)


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"cuts": [{**CUT, "name": "v1"}]}, ["versions: 'v1' is given twice"]),
        ({"cuts": [{**CUT, "name": "main"}]}, ["the name 'main' belongs to the main path"]),
        (
            {"cuts": [{**CUT, "fork": 1950}]},
            ["cuts.hotfix.iters: the path ends at iteration 2050, and the last window at iteration 2000"],
        ),
        ({"cuts": [CUT], "lr": {"warmup_iters": 390}, "versions": versions(1000)}, []),
        ({"cuts": [{**CUT, "fork": 5}], "lr": {"warmup_iters": 10}}, ["cuts.hotfix.fork: 5 is before the warm-up"]),
        ({"cuts": [{**CUT, "decay": {"alpha": 0.5}}]}, ["alpha", "a cut's length is `iters`"]),
        ({"cuts": [{**CUT, "decay": {"shape": "round"}}]}, ["cuts.hotfix.decay.shape: 'round'"]),
        ({"cuts": [CUT], "paradigm": "ptfs"}, ["cuts: they fork off main, and the paradigm lrps"]),
    ],
)
def test_refused(keys: dict[str, Any], parts: list[str]) -> None:
    if not parts:
        tree_of(**keys)
        return
    with pytest.raises(PlanError) as refusal:
        tree_of(**keys)
    assert_one_clear_line(refusal.value, *parts)
