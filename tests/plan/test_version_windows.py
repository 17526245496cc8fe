"""A main path that goes on from a run that was there: 100 iterations of it, then v1 of 200 and v2 of 200, alpha 0.5."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import Tree
from megatron_lrps.plan.cost import cost_of
from megatron_lrps.plan.data_files import missing_indexes, validation_sets
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.version_source import iterations_for, sources_of
from megatron_lrps.plan.window_samples import portions_of, windows_read
from tests.plan.plans import BASE, assert_one_clear_line, plan_of, tree_of, versions

VERSIONS = versions(200, 200)


def adopting(iteration: int = 100, **keys: Any) -> Tree:
    main = {"adopt": "runs/stock", "iteration": iteration}
    return tree_of(**{"main": main, "decay": {"alpha": 0.5}, "versions": VERSIONS, **keys})


def test_the_windows_follow_on_the_adopted_iterations() -> None:
    tree = adopting()
    assert [(path.name, path.parent, path.fork, path.end) for path in tree.paths] == [
        ("main", None, 100, 400),
        ("v1", "main", 200, 300),
        ("v2", "main", 400, 500),
    ]
    assert [(window.version.name, window.start, window.end) for window in tree.windows] == [
        ("adopted", 0, 100),
        ("v1", 100, 300),
        ("v2", 300, 500),
    ]
    assert tree.version_ends == tree.planned_ends == (("v1", 300), ("v2", 500))
    main, v1, _ = tree.paths
    assert (main.adopted, v1.adopted) == (BASE / "runs/stock", None)
    assert (main.origin, v1.origin) == (f"adopted from {BASE}/runs/stock at iteration 100", "main")
    assert tree_of().path("main").origin == "from scratch"
    # Main's curve is one from scratch: what the run has trained is a part of it.
    assert main.schedule == tree_of().path("main").schedule
    assert v1.schedule.stock()[0] == "WSD"
    assert [path_flags(tree, path)["train-iters"] for path in tree.paths] == [400, 300, 500]


def test_what_this_campaign_trains_is_counted() -> None:
    """Main 300 and two branches of 100; PTFS 300 + 500 from scratch; CPT goes on from the adopted run for 400."""
    tree = adopting()
    cost = cost_of(tree)
    assert (cost.planned, cost.lrps, cost.ptfs, cost.cpt) == (500, 500, 800, 400)
    assert iterations_for(tree, sources_of(tree)[:1]) == 200


def test_the_adopted_iterations_have_no_data() -> None:
    data = [{**version, "train": [[1.0, version["name"]]], "valid": {"a": "held"}} for version in VERSIONS]
    tree = adopting(versions=[data[0], {**data[1], "replay": 0.1}])
    assert [part.window.version.name for part in portions_of(tree, tree.windows[2])] == ["v2", "v1"]
    assert [window.version.name for window in windows_read(tree, tree.path("main"), 100)] == ["v1", "v2"]
    assert list(validation_sets(tree, tree.path("v1"))) == ["v1-a"]
    assert len(missing_indexes(tree)) == 3
    with pytest.raises(PlanError, match=r"versions.v1.replay: 0.1 is given, but there is no window before this one"):
        adopting(versions=[{**data[0], "replay": 0.1}])


def test_a_branch_forks_where_main_has_trained_itself() -> None:
    with pytest.raises(PlanError) as refusal:
        adopting(decay={"alpha": 1.0})
    assert_one_clear_line(
        refusal.value,
        "versions.v1: the branch would fork at iteration 100",
        "itself, because it is adopted",
        "lower decay.alpha to 0.995",
    )
    assert adopting(decay={"alpha": 0.995}).path("v1").fork == 101
    cut = {"name": "early", "iters": 10}
    with pytest.raises(PlanError, match=r"cuts.early.fork: 100 is not after main.iteration 100"):
        adopting(cuts=[{**cut, "fork": 100}])
    assert adopting(cuts=[{**cut, "fork": 101}]).path("early").fork == 101


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"iteration": 9, "lr": {"warmup_iters": 10}},
            ("main.iteration: 9 is before the warm-up ends at iteration 10",),
        ),
        ({"paradigm": ["lrps", "ptfs"]}, ("beside paradigm ptfs", "not known", "keep `paradigm: lrps` alone")),
        ({"paradigm": "cpt"}, ("beside paradigm cpt",)),
        (
            {"paths": [{"name": "a", "end": 9, "schedule": [{"kind": "hold"}]}]},
            ("given beside `paths`", "remove `main`"),
        ),
        ({"versions": [{"name": "Adopted", "iters": 9}]}, ("versions: the name 'Adopted'", "rename")),
        ({"cuts": [{"name": "adopted", "fork": 150, "iters": 9}]}, ("cuts: the name 'adopted'", "rename")),
        ({"save": "runs/stock"}, ("runs/stock is where this campaign writes", "never written to")),
        ({"save": "runs/stock/lrps"}, ("is where this campaign writes",)),
        (
            {"main": {"adopt": "runs/c/paths/main/checkpoints", "iteration": 100}},
            ("is where this campaign writes", "a folder of its own"),
        ),
        (
            {"main": {"adopt": "runs/stock/iter_0000100", "iteration": 7}},
            ("is named like one checkpoint", "runs/stock, and main.iteration: 100"),
        ),
        ({"main": {"adopt": "runs/stock"}}, ("main.iteration is missing",)),
        ({"main": {"adopt": "runs/stock", "iteration": 0}}, ("main.iteration",)),
    ],
)
def test_what_cannot_stand_beside_it(keys: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(PlanError) as refusal:
        adopting(**keys)
    assert_one_clear_line(refusal.value, *words)


def test_main_starts_from_one_thing() -> None:
    tree = adopting(megatron={"pretrained-checkpoint": "weights"})
    with pytest.raises(PlanError, match=r"megatron.pretrained-checkpoint: it is given beside main.adopt"):
        path_flags(tree, tree.path("main"))


def test_a_version_may_have_that_name_where_nothing_is_adopted() -> None:
    assert plan_of(versions=[{"name": "adopted", "iters": 9}]).versions[0].name == "adopted"
    assert adopting(save="runs").path("main").adopted == BASE / "runs/stock"  # beside what the campaign writes
    assert adopting(iteration=10, lr={"warmup_iters": 10}).path("main").fork == 10
