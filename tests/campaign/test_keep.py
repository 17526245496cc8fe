"""Policies by numbers, and what refers to a checkpoint. Nothing here touches a disk but the accepted plan's."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.keep import AnyOf, EveryN, LatestN, PathOnDisk, Pinned, Policy, decide
from megatron_lrps.errors import PlanError
from megatron_lrps.plan import Tree, expand, load_plan, parse_plan, plan_hash, plan_text
from megatron_lrps.plan.keys.launch_and_keep import Keep
from tests.campaign.checkpoints import save
from tests.plan.plans import assert_one_clear_line, plan_dict, plan_of, tree_of, versions

HUNDREDS = tuple(range(100, 1100, 100))
TREE = tree_of(versions=versions(1000, 1000))
"""main (0, 1400], v1 (400, 1000], v2 (1400, 2000]."""


# Policies


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (LatestN(n=1), [1000]),
        (LatestN(n=3), [800, 900, 1000]),
        (LatestN(n=99), list(HUNDREDS)),
        (EveryN(n=300), [300, 600, 900]),
        (EveryN(n=1), list(HUNDREDS)),
        (EveryN(n=1001), []),
        (Pinned(reasons={400: "a fork", 450: "nothing there"}), [400]),
        (Pinned(reasons={}), []),
        (AnyOf(of=()), []),
        (AnyOf(of=(LatestN(n=2), EveryN(n=500), Pinned(reasons={100: "a"}))), [100, 500, 900, 1000]),
    ],
)
def test_policies(policy: Policy, kept: list[int]) -> None:
    assert sorted(policy.keeps(HUNDREDS)) == kept
    assert policy.keeps([]) == {}


def test_any_of_gives_all_reasons() -> None:
    policy = AnyOf(of=(Pinned(reasons={1000: "pinned"}), LatestN(n=2), EveryN(n=500)))
    assert policy.keeps(HUNDREDS) == {
        500: "every 500 iterations",
        900: "among the newest 2",
        1000: "pinned; the newest; every 500 iterations",
    }


# What is kept


def kept(*found: PathOnDisk, trees: Sequence[Tree] = (TREE,), **keep: Any) -> dict[str, list[int]]:
    """Path -> iterations that stay."""
    verdicts = decide(trees, found, Keep(**{"latest": 1, **keep}))
    assert len(verdicts) == sum(len(each.complete) + len(each.torn) + len(each.trash) for each in found)
    return {each.path: [v.iteration for v in verdicts if v.keep and v.path == each.path] for each in found}


def reason(path: str, iteration: int, *found: PathOnDisk, trees: Sequence[Tree] = (TREE,), **keep: Any) -> str:
    verdicts = decide(trees, found, Keep(**{"latest": 1, **keep}))
    return next(each.reason for each in verdicts if (each.path, each.iteration) == (path, iteration))


MAIN = PathOnDisk(path="main", complete=(200, 400, 600, 800, 1000, 1200))


def test_the_newest_and_fork_points_stay() -> None:
    assert kept(MAIN) == {"main": [400, 1200]}
    assert kept(MAIN, latest=2) == {"main": [400, 1000, 1200]}
    assert kept(MAIN, every=600) == {"main": [400, 600, 1200]}
    assert reason("main", 400, MAIN) == "v1 forks off it"
    assert reason("main", 200, MAIN) == "nothing needs it"


RELEASED = PathOnDisk(path="v1", complete=(800, 1000), parent="main", fork=400, end=1000, released=True)


@pytest.mark.parametrize(
    ("child", "needed"),
    [
        (PathOnDisk(path="v1"), True),  # planned
        (PathOnDisk(path="v1", complete=(600,)), True),  # running
        (PathOnDisk(path="v1", complete=(1000,)), True),  # trained
        (
            PathOnDisk(path="v1", complete=(600,), parent="main", fork=400, end=1000, released=True),
            True,
        ),  # released, and its end is gone
        (replace(RELEASED, damaged={1000: "x"}), True),
        (PathOnDisk(path="v1", torn=(1000,), parent="main", fork=400, end=1000, released=True), True),
        (PathOnDisk(path="v1", complete=(1000,), released=True), True),  # its record does not say what it forked off
        (RELEASED, False),
    ],
)
def test_a_fork_point_goes_only_where_the_plan_says_so_and_its_version_is_released(
    child: PathOnDisk, needed: bool
) -> None:
    assert 400 in kept(MAIN, child)["main"]
    assert (400 in kept(MAIN, child, released_forks=False)["main"]) == needed


def test_what_a_deletion_makes_impossible_is_said() -> None:
    v1 = PathOnDisk(path="v1", complete=(800, 1000), torn=(700,), parent="main", fork=400, end=1000, released=True)
    verdicts = decide([TREE], [MAIN, v1], Keep(latest=1, released_forks=False))
    off = "no version can be cut off main there (lrps cut --at)"
    assert {(each.path, each.iteration): each.loses for each in verdicts if not each.keep} == {
        ("main", 200): off,
        ("main", 400): f"v1 cannot be trained anew from its fork point; {off}",
        ("main", 600): off,
        ("main", 800): off,
        ("main", 1000): off,
        ("v1", 700): "",
        ("v1", 800): "v1 cannot go back there",
    }
    assert {each.loses for each in verdicts if each.keep} == {""}
    given_up = reason("main", 400, MAIN, v1, released_forks=False)
    assert given_up == "given up by keep.released_forks: v1 forked off it"


def test_a_released_cut_keeps_its_fork_point_too() -> None:
    tree = tree_of(versions=versions(1000, 1000), cuts=[{"name": "hot", "fork": 800, "iters": 100}])
    hot = PathOnDisk(path="hot", complete=(900,), parent="main", fork=800, end=900, released=True)
    assert kept(MAIN, hot, trees=[tree])["main"] == [400, 800, 1200]
    assert kept(MAIN, hot, trees=[tree], released_forks=False)["main"] == [400, 1200]


def test_a_fork_point_that_another_version_needs_stays() -> None:
    tree = tree_of(versions=versions(1000, 1000), cuts=[{"name": "hot", "fork": 400, "iters": 100}])
    assert kept(MAIN, RELEASED, trees=[tree], released_forks=False)["main"] == [400, 1200]
    assert reason("main", 400, MAIN, RELEASED, trees=[tree], released_forks=False) == "hot forks off it"
    pinned = PathOnDisk(path="main", complete=MAIN.complete, referred={400: "pinned"})
    assert kept(pinned, RELEASED, released_forks=False)["main"] == [400, 1200]


def test_a_decay_anew_keeps_the_old_fork_point_and_the_new_one() -> None:
    """v1 was trained from 400 and released; the given plan decays it again, from 600."""
    again = tree_of(versions=versions(1000, 1000, decay={"alpha": 0.4}))
    assert kept(MAIN, RELEASED, trees=[again, TREE])["main"] == [400, 600, 1200]
    assert kept(MAIN, RELEASED, trees=[again, TREE], released_forks=False)["main"] == [600, 1200]


def test_ends_stay_even_when_released_and_passed() -> None:
    main = PathOnDisk(path="main", complete=(1400, 1500, 1600))
    v1 = PathOnDisk(path="v1", complete=(800, 1000, 1001), released=True)
    assert kept(main, v1) == {"main": [1400, 1600], "v1": [1000, 1001]}
    assert reason("v1", 1000, main, v1) == "the end of v1"
    assert reason("main", 1400, main, v1) == "the end of main; v2 forks off it"


def test_cpt_needs_the_end_before_it() -> None:
    tree = tree_of(paradigm="cpt")
    v1 = PathOnDisk(path="cpt-v1", complete=(500, 1000, 1100), released=True)
    assert kept(v1, trees=[tree]) == {"cpt-v1": [1000, 1100]}
    assert reason("cpt-v1", 1000, v1, trees=[tree]) == "the end of cpt-v1; cpt-v2 forks off it"


def test_what_the_given_or_the_accepted_plan_needs_stays() -> None:
    later = tree_of(versions=versions(1000, 1000, decay={"alpha": 0.4}))  # v1 forks at 600, v2 at 1600
    assert kept(MAIN, trees=[later]) == {"main": [600, 1200]}
    assert kept(MAIN, trees=[later, TREE]) == kept(MAIN, trees=[TREE, later]) == {"main": [400, 600, 1200]}


def test_a_removed_version_keeps_its_fork_point_and_its_checkpoints() -> None:
    v9 = PathOnDisk(path="v9", complete=(800, 900, 1000), torn=(850,), parent="main", fork=200, end=1000, released=True)
    assert kept(MAIN, v9) == {"main": [200, 400, 1200], "v9": [800, 850, 900, 1000]}
    assert reason("main", 200, MAIN, v9) == "v9 forks off it, which no plan names any more"
    assert reason("v9", 800, MAIN, v9) == "no plan names v9"


def test_a_record_may_know_another_fork_and_end_than_the_plans() -> None:
    v1 = PathOnDisk(path="v1", complete=(700, 800, 900), parent="main", fork=200, end=800)
    assert kept(MAIN, v1) == {"main": [200, 400, 1200], "v1": [800, 900]}


def test_torn_ones_go_once_a_whole_one_is_newer() -> None:
    main = PathOnDisk(path="main", complete=(600, 800), torn=(200, 700, 900, 1000))
    assert kept(main) == {"main": [800, 900, 1000]}
    assert reason("main", 700, main) == "torn: its save was cut off"
    assert reason("main", 900, main) == "newer than any whole one: a save may be in progress"
    assert kept(PathOnDisk(path="main", torn=(200, 300))) == {"main": [200, 300]}


def test_a_torn_one_that_something_refers_to_stays() -> None:
    main = PathOnDisk(path="main", complete=(800,), torn=(400, 500, 600), referred={600: "pinned"})
    assert kept(main, every=500) == {"main": [400, 600, 800]}
    assert reason("main", 400, main) == "torn; v1 forks off it"


def test_damaged_ones_do_not_count() -> None:
    main = PathOnDisk(path="main", complete=(500, 600, 700, 800), torn=(750,), damaged={700: "x is missing", 800: "y"})
    assert kept(main) == {"main": [600, 700, 750, 800]}  # a run that goes on from 600 may be saving 750
    assert kept(main, latest=2) == {"main": [500, 600, 700, 750, 800]}
    assert reason("main", 700, main) == "damaged: x is missing"
    assert reason("main", 600, main) == "the newest"


def test_what_the_disk_refers_to_stays() -> None:
    main = PathOnDisk(path="main", complete=MAIN.complete, referred={200: "pinned: best", 600: "the tracker"})
    assert kept(main) == {"main": [200, 400, 600, 1200]}
    assert reason("main", 200, main) == "pinned: best"


def test_leftovers_of_a_gc_always_go() -> None:
    v1 = PathOnDisk(path="v1", complete=(1000,), trash={".trash-iter_0001000-00000000": 1000})
    first, second = decide([TREE], [v1], Keep())
    assert (first.trash, first.keep, first.reason) == (
        ".trash-iter_0001000-00000000",
        False,
        "left by an interrupted gc",
    )
    assert (second.trash, second.keep) == (None, True)


# The key in the plan


def test_keep_in_the_plan() -> None:
    assert plan_of().keep == Keep(latest=2, every=None, released_forks=True)
    assert not plan_of(keep={"released_forks": False}).keep.released_forks
    assert plan_of(keep={"latest": "1K", "every": 5000}).keep == Keep(latest=1000, every=5000)


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ({"latest": 0}, ["keep.latest: 0", "must be at least 1"]),
        ({"every": -5}, ["keep.every: -5", "must be at least 1"]),
        ({"newest": 2}, ["keep.newest is an unknown key"]),
        (3, ["keep: 3", "give keys under it"]),
    ],
)
def test_a_wrong_keep_is_refused(keep: Any, words: list[str]) -> None:
    with pytest.raises(PlanError) as refusal:
        plan_of(keep=keep)
    assert_one_clear_line(refusal.value, *words)


def test_the_accepted_plan_keeps_it() -> None:
    plan = plan_of(keep={"latest": 3})
    again = parse_plan(plan_text(plan), base=Path("/elsewhere"))
    assert again.keep == Keep(latest=3)
    assert plan_hash(again) == plan_hash(plan) != plan_hash(plan_of())


def test_changing_it_changes_no_past(tmp_path: Path) -> None:
    def tree(**keys: Any) -> Tree:
        return expand(parse_plan(yaml.safe_dump(plan_dict(**keys)), base=tmp_path))

    accept(Campaign(tree()))
    campaign = CampaignFolder(tree().plan.folder)
    save(campaign.path("main").checkpoints, 400, 1400)
    save(campaign.path("v1").checkpoints, 1000)
    for keep in ({"latest": 5}, {"latest": 1, "every": 100}, None):
        accept(Campaign(tree(keep=keep)))
        assert load_plan(campaign.plan).keep == (Keep(**keep) if keep else Keep())


MERGED = tree_of(merge={"window": 0.5, "checkpoints": 5})
"""main (0, 2000]; v1 is made of 600, 700 ... 1000, v2 of 1200, 1400 ... 2000."""


def test_the_parts_of_a_merge_stay_until_it_is_made() -> None:
    main = PathOnDisk(path="main", complete=(*range(500, 1001, 100), 1200))
    assert kept(main, trees=[MERGED]) == {"main": [600, 700, 800, 900, 1000, 1200]}
    assert reason("main", 600, main, trees=[MERGED]) == "v1 is to be made of it"
    made = PathOnDisk(path="v1", complete=(1000,), parent="main", fork=600, end=1000, mean=True)
    assert kept(main, made, trees=[MERGED]) == {"main": [1200], "v1": [1000]}
    # ... and so they do where the version is damaged, since it must be made anew.
    damaged = replace(made, damaged={1000: "x"})
    assert kept(main, damaged, trees=[MERGED])["main"] == [600, 700, 800, 900, 1000, 1200]
