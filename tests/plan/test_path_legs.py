"""A campaign as legs: where they end, and what they follow."""

from megatron_lrps.plan.path_legs import legs_of
from tests.plan.plans import tree_of, versions


def test_main_is_cut_at_its_fork_points_and_a_branch_follows_the_leg_that_ends_there() -> None:
    assert [(*leg.key, leg.start, leg.before) for leg in legs_of(tree_of())] == [
        ("main", 400, 0, ()),
        ("main", 1400, 400, (("main", 400),)),
        ("v1", 1000, 400, (("main", 400),)),
        ("v2", 2000, 1400, (("main", 1400),)),
    ]


def test_baselines_follow_their_parents() -> None:
    tree = tree_of(paradigm=["ptfs", "cpt"])
    assert [(*leg.key, leg.before) for leg in legs_of(tree)] == [
        ("ptfs-v1", 1000, ()),
        ("ptfs-v2", 2000, ()),
        ("cpt-v1", 1000, ()),
        ("cpt-v2", 2000, (("cpt-v1", 1000),)),
    ]


def test_main_has_a_leg_for_each_of_three_versions() -> None:
    tree = tree_of(versions=versions(1000, 1000, 1000), decay={"shape": "cosine", "alpha": 0.6})
    assert [(leg.path.name, leg.start, leg.until, leg.before) for leg in legs_of(tree)] == [
        ("main", 0, 400, ()),
        ("main", 400, 1400, (("main", 400),)),
        ("main", 1400, 2400, (("main", 1400),)),
        ("v1", 400, 1000, (("main", 400),)),
        ("v2", 1400, 2000, (("main", 1400),)),
        ("v3", 2400, 3000, (("main", 2400),)),
    ]


def test_a_merge_is_one_leg_behind_the_last_of_its_checkpoints_and_a_soup_behind_all_its_branches() -> None:
    tree = tree_of(merge={"window": 0.5, "checkpoints": 5})
    assert [(leg.path.name, leg.start, leg.until, leg.before) for leg in legs_of(tree)] == [
        ("main", 0, 1000, ()),
        ("main", 1000, 2000, (("main", 1000),)),
        ("v1", 1000, 1000, (("main", 1000),)),
        ("v2", 2000, 2000, (("main", 2000),)),
    ]
    assert tree.fork_points("main") == (1000, 2000)
    assert tree.needed_saves("main") == (600, 700, 800, 900, 1000, 1200, 1400, 1600, 1800, 2000)
