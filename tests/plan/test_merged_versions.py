"""Plans whose versions are merges: costs, keys of their own, and what is refused."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.cost import checkpoints_kept, cost_of, merge_saves
from megatron_lrps.plan.flags import refuse_to_train_mean
from megatron_lrps.plan.version_source import sources_of
from tests.plan.plans import assert_one_clear_line, tree_of, versions

FOUR = versions(1000, 1000, 1000, 1000)


def merging(*merges: object) -> list[dict[str, Any]]:
    """A version of 1000 iterations with each `merge`; None leaves the key out."""
    named = versions(*[1000] * len(merges))
    return [each if own is None else each | {"merge": own} for each, own in zip(named, merges, strict=True)]


def test_four_merged_versions_cost_forty_percent_of_ptfs() -> None:
    cost = cost_of(tree_of(versions=FOUR, merge={}))
    assert (cost.lrps, cost.ptfs, cost.share_of_ptfs) == (4000, 10_000, 0.4)
    both = cost_of(tree_of(versions=FOUR, merge=True, paradigm=["lrps", "ptfs-merged"]))
    assert (both.planned, both.lrps) == (14_000, 4000)


def test_a_merged_version_is_made_of_checkpoints_of_main() -> None:
    tree = tree_of(versions=FOUR, merge={"window": 0.2, "checkpoints": 2, "weights": "mean"})
    [source] = [each for each in sources_of(tree) if each.version == "v4"]
    assert source.made_of == (("main", 3600), ("main", 4000))
    assert tree.path("v4").parts_words == "0.5 of main at 3600, 0.5 of main at 4000"
    assert tree.path("v4").mean_words == tree.path("v4").origin == "a mean of 2 checkpoints of main"


def test_a_version_overrides_the_campaigns_merge_key_by_key() -> None:
    tree = tree_of(
        versions=merging(False, None, {"checkpoints": 3}),
        merge={"window": 0.3, "checkpoints": 6},
    )
    assert [(path.name, path.kind, len(path.mean)) for path in tree.paths] == [
        ("main", "main", 0),
        ("v1", "branch", 0),
        ("v2", "merge", 6),
        ("v3", "merge", 3),
    ]
    assert [part.iteration for part in tree.path("v3").mean] == [2400, 2700, 3000]


def test_a_version_can_be_merged_where_the_campaign_is_not() -> None:
    tree = tree_of(versions=merging(None, True))
    assert [path.kind for path in tree.paths] == ["main", "branch", "merge"]
    assert tree.path("main").end == 2000


def test_checkpoints_of_one_merge_are_kept_at_a_time() -> None:
    # the ends of main (which is v4's) and of four versions, main at 1000, 2000 and 3000, and nine parts of a merge
    assert checkpoints_kept(tree_of(versions=FOUR, merge={"checkpoints": 10})) == 5 + 3 + 9


@pytest.mark.parametrize(("every", "besides"), [(100, 0), (450, 3), (1000, 4)])
def test_a_merge_counts_the_saves_that_are_made_for_it_alone(every: int, besides: int) -> None:
    # main at 900, 1000, 1800, 2000, 2700, 3000 and 3600, and at its end; 450 divides none of the thousands
    tree = tree_of(versions=FOUR, merge={"window": 0.2, "checkpoints": 2}, megatron={"save-interval": every})
    saves = merge_saves(tree)
    assert saves is not None
    assert (saves.checkpoints, saves.besides, saves.save_interval) == (8, besides, every)
    assert merge_saves(tree_of(versions=FOUR)) is None


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        (
            {"merge": {"window": 1.0}, "lr": {"warmup_iters": 200}},
            ("versions.v1", "iteration 100", "warm-up ends at iteration 200", "below 0.8"),
        ),
        ({"merge": {"window": 0.005}}, ("versions.v1", "5 iterations", "10 checkpoints")),
        ({"merge": {"window": 0}}, ("merge.window",)),
        ({"merge": {"checkpoints": 1}}, ("merge.checkpoints",)),
        ({"merge": {"weights": "median"}}, ("merge.weights", "median", "ema")),
        ({"merge": {"windows": 0.2}}, ("merge", "windows")),
        ({"merge": False}, ("merge", "merges nothing by itself")),
        ({"merge": {}, "paradigm": ["ptfs", "cpt"]}, ("merge", "ptfs, cpt", "ptfs-merged")),
        ({"versions": merging(True), "paradigm": "cpt"}, ("versions.v1.merge", "cpt")),
        (
            {"merge": {}, "paths": [{"name": "a", "end": 8, "schedule": [{"kind": "hold"}]}]},
            ("merge", "beside `paths`"),
        ),
        (
            {"merge": {"window": 0.9}, "main": {"adopt": "/stock", "iteration": 1000}},
            ("versions.v1", "iteration 380", "main.iteration is 1000", "below 0.5"),
        ),
        ({"versions": merging({"weights": "x"})}, ("weights",)),
    ],
)
def test_an_impossible_merge_is_refused(keys: dict[str, object], parts: tuple[str, ...]) -> None:
    with pytest.raises(PlanError) as refused:
        tree_of(**keys)
    assert_one_clear_line(refused.value, *parts)


def test_a_merge_may_begin_after_an_adopted_run() -> None:
    tree = tree_of(merge={"checkpoints": 4}, main={"adopt": "/stock", "iteration": 1000})
    # v1 ends at 2,000, a fifth of which is 400
    assert [part.iteration for part in tree.path("v1").mean] == [1700, 1800, 1900, 2000]


def test_megatron_is_not_let_train_a_merge() -> None:
    with pytest.raises(PlanError, match=r"v1 is a mean of 10 checkpoints of main, and Megatron trains nothing for it"):
        refuse_to_train_mean(tree_of(merge={}).path("v1"))
