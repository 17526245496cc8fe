"""From a plan to its tree: forks, ends, schedules, and what cannot be forked."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.schedule import SHAPES
from tests.plan.plans import assert_one_clear_line, tree_of, versions

PAPER = {"versions": versions(10_000, 10_000, 10_000, 10_000), "decay": {"alpha": 0.6}}


def shape_of(path: PlannedPath) -> tuple[str | None, int, int]:
    return path.parent, path.fork, path.end


def rate(tree: Tree, name: str, iteration: int) -> float:
    """The learning rate at the position after ``iteration`` iterations."""
    plan = tree.plan
    position = iteration * plan.global_batch_size
    return tree.path(name).schedule.lr(position, max_lr=plan.lr.max, min_lr=plan.lr.min)


def refused(*parts: str, **keys: Any) -> None:
    with pytest.raises(PlanError) as caught:
        tree_of(**keys)
    assert_one_clear_line(caught.value, *parts)


# The paradigms


def test_lrps_of_the_paper() -> None:
    tree = tree_of(**PAPER)
    assert {path.name: shape_of(path) for path in tree.paths} == {
        "main": (None, 0, 34_000),
        "v1": ("main", 4_000, 10_000),
        "v2": ("main", 14_000, 20_000),
        "v3": ("main", 24_000, 30_000),
        "v4": ("main", 34_000, 40_000),
    }
    assert tree.iterations("lrps") == 58_000
    assert tree.fork_points("main") == (4_000, 14_000, 24_000, 34_000)
    assert {path.kind for path in tree.paths} == {"main", "branch"}
    assert [path.version for path in tree.paths] == [None, "v1", "v2", "v3", "v4"]
    assert {path.order for path in tree.paths} == {"chained"}


def test_lrps_rates() -> None:
    tree = tree_of(**PAPER, lr={"max": 3e-4, "min": 3e-5, "warmup_iters": 500})
    assert rate(tree, "main", 0) == 0
    assert rate(tree, "main", 250) == pytest.approx(1.5e-4)
    assert rate(tree, "main", 33_999) == 3e-4
    for name, fork in [("v1", 4_000), ("v2", 14_000), ("v3", 24_000), ("v4", 34_000)]:
        assert rate(tree, name, fork - 1) == rate(tree, name, fork) == 3e-4
        assert rate(tree, name, fork + 3_000) == pytest.approx(1.65e-4)
        assert rate(tree, name, fork + 6_000) == 3e-5


def test_ptfs_retrains_each_version_on_all_data() -> None:
    tree = tree_of(**PAPER, paradigm="ptfs")
    assert {path.name: shape_of(path) for path in tree.paths} == {
        f"ptfs-v{i}": (None, 0, i * 10_000) for i in (1, 2, 3, 4)
    }
    assert tree.iterations("ptfs") == 100_000
    assert {path.order for path in tree.paths} == {"mixed"}
    assert [len(tree.windows_of(path)) for path in tree.paths] == [1, 2, 3, 4]
    assert rate(tree, "ptfs-v4", 20_000) == pytest.approx(1.65e-4)
    assert rate(tree, "ptfs-v4", 40_000) == 3e-5


def test_cpt_continues_the_last_version_from_max() -> None:
    tree = tree_of(**PAPER, paradigm="cpt", lr={"max": 3e-4, "min": 3e-5, "warmup_iters": 500})
    assert {path.name: shape_of(path) for path in tree.paths} == {
        "cpt-v1": (None, 0, 10_000),
        "cpt-v2": ("cpt-v1", 10_000, 20_000),
        "cpt-v3": ("cpt-v2", 20_000, 30_000),
        "cpt-v4": ("cpt-v3", 30_000, 40_000),
    }
    assert tree.iterations("cpt") == 40_000
    assert rate(tree, "cpt-v1", 250) == pytest.approx(1.5e-4)  # the first version alone warms up
    assert rate(tree, "cpt-v2", 10_000) == 3e-4
    assert rate(tree, "cpt-v2", 15_000) == pytest.approx(1.65e-4)
    assert rate(tree, "cpt-v4", 9_999) == rate(tree, "cpt-v1", 9_999)


def test_cpt_may_warm_up_again() -> None:
    tree = tree_of(**PAPER, paradigm="cpt-rewarm", lr={"max": 3e-4, "min": 3e-5, "warmup_iters": 500})
    assert shape_of(tree.path("cpt-rewarm-v2")) == ("cpt-rewarm-v1", 10_000, 20_000)
    assert tree.iterations("cpt-rewarm") == 40_000
    assert rate(tree, "cpt-rewarm-v2", 10_000) == 3e-5
    assert rate(tree, "cpt-rewarm-v2", 10_250) == pytest.approx(1.65e-4)  # half-way from min to max
    assert rate(tree, "cpt-rewarm-v2", 10_500) == 3e-4
    assert rate(tree, "cpt-rewarm-v2", 15_250) == pytest.approx(1.65e-4)  # half of the cosine behind it
    with pytest.raises(PlanError, match=r"cpt-rewarm warms up again for lr\.warmup_iters, which is 0"):
        tree_of(**PAPER, paradigm="cpt-rewarm", lr={"warmup_iters": 0})


@pytest.mark.parametrize(
    ("shape", "iteration", "expected"),
    [
        ("knee", 500, 3e-4),
        ("knee", 750, 1.65e-4),
        ("multi-step", 799, 3e-4),
        ("multi-step", 800, 9.48e-5),
        ("multi-step", 899, 9.48e-5),
        ("multi-step", 900, 3e-5),
    ],
)
def test_whole_schedules_of_baselines(shape: str, iteration: int, expected: float) -> None:
    tree = tree_of(paradigm=["ptfs", "cpt"], decay={"shape": shape})
    assert rate(tree, "ptfs-v1", iteration) == pytest.approx(expected)
    assert rate(tree, "cpt-v1", iteration) == pytest.approx(expected)
    assert rate(tree, "cpt-v2", 1000 + iteration) == pytest.approx(expected)
    assert rate(tree, "ptfs-v2", 2 * iteration) == pytest.approx(expected)


def test_several_paradigms_in_one_plan() -> None:
    tree = tree_of(**PAPER, paradigm=["lrps", "ptfs", "cpt"])
    assert (tree.iterations("lrps"), tree.iterations("ptfs"), tree.iterations("cpt")) == (58_000, 100_000, 40_000)
    assert len(tree.by_name) == len(tree.paths) == 13
    seen: set[str] = set()
    for path in tree.paths:  # parents before children
        assert path.parent is None or path.parent in seen
        seen.add(path.name)


def test_versions_of_other_lengths_and_alphas() -> None:
    tree = tree_of(
        decay={"alpha": 0.5},
        versions=[
            {"name": "a", "iters": 100},
            {"name": "b", "iters": 300, "decay": {"alpha": 0.1}},
            {"name": "c", "iters": 10, "decay": {"alpha": 1.0, "shape": "linear"}},
        ],
    )
    assert [shape_of(path) for path in tree.paths] == [
        (None, 0, 400),
        ("main", 50, 100),
        ("main", 370, 400),  # 10 % of its own 300
        ("main", 400, 410),  # alpha 1: all of its window
    ]
    assert tree.path("c").schedule.segments[-1].shape == "linear"


def test_main_stops_at_the_last_fork_even_if_it_is_not_the_last_versions() -> None:
    tree = tree_of(versions=[*versions(100, decay={"alpha": 0.01}), {"name": "w", "iters": 2, "decay": {"alpha": 1}}])
    assert (tree.path("main").end, tree.path("v1").fork, tree.path("w").fork) == (100, 99, 100)


def test_alpha_t_is_rounded_to_whole_iterations() -> None:
    forks = {
        alpha: tree_of(versions=versions(10, decay={"alpha": alpha})).path("v1").fork for alpha in (0.14, 0.15, 0.16)
    }
    assert forks == {0.14: 9, 0.15: 8, 0.16: 8}


# Sizes


def test_sizes_in_iterations_samples_and_tokens_agree() -> None:
    for size in ({"iters": 1000}, {"samples": 8000}, {"tokens": 128_000}, {"tokens": "128K"}, {"tokens": 128_127}):
        assert tree_of(versions=[{"name": "v1", **size}]).windows[0].iterations == 1000
    tree = tree_of(sequence_length=2048, global_batch_size=1024, versions=[{"name": "v1", "tokens": "21B"}])
    assert tree.windows[0].iterations == 10_013  # 21e9 / 2,097,152 = 10,013.6


def test_sizes_that_do_not_fit() -> None:
    samples = "versions.v1.samples: 8001 is not a multiple of global_batch_size 8"
    refused(samples, "give 8000 or 8008", versions=[{"name": "v1", "samples": 8001}])
    refused("versions.v1.samples: 7 is", "give 8.", versions=[{"name": "v1", "samples": 7}])
    tokens = "versions.v1.tokens: 127 is less than one iteration of 128 tokens"
    refused(tokens, "give the version more tokens", versions=[{"name": "v1", "tokens": 127}])


# Impossible forks and schedules


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        (
            {"versions": versions(100, 1)},
            ["versions.v2: alpha 0.6 of 1 iterations is less than one iteration", "raise decay.alpha to 1 or more"],
        ),
        ({"versions": versions(49, decay={"alpha": 0.02})}, ["versions.v1: alpha 0.02 of 49", "to 0.0205 or more"]),
        ({"decay": {"alpha": 9e-4}}, ["versions.v1: alpha 0.0009 of 1000", "to 0.001 or more"]),
        (
            {"lr": {"warmup_iters": 401}},
            ["versions.v1: the branch would fork at iteration 400, before the warm-up ends at iteration 401", "lower"],
        ),
        (
            {"decay": {"alpha": 1.0}},
            ["versions.v1: the branch would fork at iteration 0, before which main trains nothing"],
        ),
        (
            {"versions": versions(1000), "lr": {"warmup_iters": 400}},
            ["path main: its warm-up ends at iteration 400, and the path itself ends at 400", "shorten the warm-up"],
        ),
        (
            {"paradigm": "ptfs", "lr": {"warmup_iters": 1000}},
            ["lr.warmup_iters: 1000 reaches past the end of version v1"],
        ),
        (
            {"paradigm": "ptfs", "decay": {"shape": "knee"}, "lr": {"warmup_iters": 501}},
            ["versions.v1: the warm-up ends at sample 4008, after the hold's end at sample 4000", "lr.warmup_iters"],
        ),
        (
            {"paradigm": "cpt", "decay": {"shape": "multi-step"}, "lr": {"warmup_iters": 801}},
            ["versions.v1: the warm-up ends at sample 6408, after the first step at sample 6400"],
        ),
        (
            {"paradigm": "cpt", "decay": {"shape": "knee"}, "versions": versions(10, 1)},
            ["versions.v2: a hold for 0.5 of 1 iterations leaves none to decay in", "make the version longer"],
        ),
        (
            {"paradigm": "ptfs", "decay": {"shape": "multi-step"}, "versions": versions(2)},
            ["versions.v1: the step to 0.316 of max at 0.8 of 2 iterations gets none of them"],
        ),
        (
            {"decay": {"shape": "multi-step", "alpha": 0.1}, "versions": versions(10)},
            ["versions.v1: the step to 0.1 of max at 0.5 of 1 iterations gets none of them"],
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(keys: dict[str, Any], parts: list[str]) -> None:
    refused(*parts, **keys)


def test_a_fork_where_the_warmup_ends_is_possible() -> None:
    tree = tree_of(lr={"max": 3e-4, "min": 3e-5, "warmup_iters": 400})
    assert tree.path("v1").fork == 400
    assert rate(tree, "v1", 400) == 3e-4


@pytest.mark.parametrize("iterations", [1, 2, 3, 7, 9, 49, 98, 103, 107, 1000, 9_999])
def test_the_fix_for_alpha_fixes(iterations: int) -> None:
    sizes = versions(1000, iterations)
    with pytest.raises(PlanError) as caught:
        tree_of(decay={"alpha": 0.9 / iterations}, versions=[sizes[0] | {"decay": {"alpha": 0.5}}, sizes[1]])
    enough = float(caught.value.fix.split("alpha to ")[1].split()[0])
    tree = tree_of(decay={"alpha": enough}, versions=[sizes[0] | {"decay": {"alpha": 0.5}}, sizes[1]])
    assert tree.path("v2").iterations >= 1


# Names


@pytest.mark.parametrize(
    ("names", "keys", "parts"),
    [
        (("v1", "v1"), {}, ["versions: 'v1' is given twice", "rename one"]),
        (("v1", "V1"), {}, ["versions: 'V1' and 'v1' are the same name on some file systems"]),
        (("main", "v2"), {}, ["versions: the name 'main' belongs to the main path"]),
        (("Main", "v2"), {"paradigm": "ptfs"}, ["versions: the name 'Main' belongs to the main path"]),
        (("v", "ptfs-v"), {"paradigm": ["lrps", "ptfs"]}, ["paths: 'ptfs-v' is given twice"]),
    ],
)
def test_twins(names: tuple[str, str], keys: dict[str, Any], parts: list[str]) -> None:
    refused(*parts, versions=[{"name": name, "iters": 1000} for name in names], **keys)


def test_an_unknown_path_is_refused_with_those_that_exist() -> None:
    with pytest.raises(PlanError) as caught:
        tree_of().path("v3")
    assert_one_clear_line(caught.value, "path 'v3' is not in campaign c", "choose one of main, v1, v2")


# Explicit paths

TRUNK = {"name": "trunk", "end": 800, "schedule": [{"kind": "warmup", "until": 100}, {"kind": "hold"}]}
COOL = {"name": "cool", "parent": "trunk", "fork": 600, "end": 1000, "schedule": [{"kind": "cosine", "until": 1000}]}


def test_explicit_paths() -> None:
    tree = tree_of(paths=[TRUNK, COOL | {"version": "v1"}])
    assert [shape_of(path) for path in tree.paths] == [(None, 0, 800), ("trunk", 600, 1000)]
    assert {(path.kind, path.paradigm) for path in tree.paths} == {("explicit", "explicit")}
    assert tree.path("cool").version == "v1"
    assert rate(tree, "trunk", 50) == pytest.approx(1.5e-4)
    assert rate(tree, "cool", 600) == 3e-4
    assert rate(tree, "cool", 800) == pytest.approx(1.65e-4)
    assert rate(tree, "cool", 1000) == 3e-5


def test_explicit_factors_and_a_decay_that_is_cut_off() -> None:
    pieces = [{"kind": "factor", "factor": 0.5, "until": 10}, {"kind": "linear", "until": 110}]
    tree = tree_of(paths=[{"name": "a", "end": 60, "schedule": pieces, "order": "mixed"}])
    assert rate(tree, "a", 9) == 1.5e-4
    assert rate(tree, "a", 60) == pytest.approx(1.65e-4)
    assert tree.path("a").order == "mixed"


def test_a_path_that_ends_inside_its_decay_is_followed_from_there() -> None:
    pieces = [{"kind": "linear", "until": 400}]
    first = {"name": "first", "end": 100, "schedule": pieces}
    second = {"name": "second", "parent": "first", "fork": 100, "end": 200, "schedule": [{"kind": "hold"}]}
    tree = tree_of(paths=[first, second])
    for name in ("first", "second"):
        assert rate(tree, name, 50) == pytest.approx(3e-4 - 50 / 400 * 2.7e-4)
    assert rate(tree, "second", 100) == 3e-4
    # Its own children may be followed from its end again, and a later look at the plan finds the same past.
    third = {"name": "third", "parent": "second", "fork": 200, "end": 300, "schedule": [{"kind": "hold"}]}
    grown = tree_of(paths=[first, second, third])
    assert grown.path("second") == tree.path("second")
    assert rate(grown, "third", 50) == rate(tree, "first", 50)


@pytest.mark.parametrize(
    ("paths", "parts"),
    [
        ([COOL], ["paths.cool.parent: 'trunk' is not a path that is listed before it", "list parents before"]),
        ([COOL, TRUNK], ["paths.cool.parent: 'trunk' is not a path that is listed before it"]),
        ([TRUNK, COOL | {"fork": 801}], ["paths.cool.fork: 801 lies outside of trunk, which trains (0, 800]"]),
        ([TRUNK, COOL | {"fork": 1000}], ["paths.cool.fork: 1000 lies outside of trunk"]),
        ([TRUNK, COOL | {"end": 600}], ["paths.cool.end: 600 is not after its start 600"]),
        (
            [TRUNK, COOL | {"end": 1001}],
            ["paths.cool.schedule: the schedule stops at iteration 1000, before the end 1001"],
        ),
        (
            [TRUNK, COOL | {"fork": 50}],
            ["paths.cool.schedule: sample 400 lies inside the warmup that ends at sample 800"],
        ),
        (
            [TRUNK | {"end": 2001}],
            ["paths.trunk.end: the path ends at iteration 2001, and the last window at iteration 2000"],
        ),
        ([TRUNK, TRUNK], ["paths: 'trunk' is given twice"]),
        ([TRUNK | {"version": "v9"}], ["paths.trunk.version: 'v9' is not a version", "v1, v2"]),
        ([TRUNK | {"end": 100}], ["path trunk: its warm-up ends at iteration 100, and the path itself ends at 100"]),
        (
            [TRUNK | {"schedule": [{"kind": "hold"}, {"kind": "linear", "until": 900}]}],
            ["paths.trunk.schedule: a hold without `until` never ends"],
        ),
        (
            [TRUNK | {"schedule": [{"kind": "hold", "until": 900}, {"kind": "linear", "until": 900}]}],
            ["paths.trunk.schedule: segment decay ends at sample 7200, not after its start 7200"],
        ),
        (
            [TRUNK, COOL | {"schedule": [{"kind": "warmup", "until": 1000}]}],
            ["paths.cool.schedule: a warm-up can only be the first segment"],
        ),
        (
            [TRUNK, COOL, COOL | {"name": "b", "parent": "cool", "fork": 700}],
            ["paths.b.schedule: sample 5600 lies inside the decay that ends at sample 8000"],
        ),
    ],
)
def test_explicit_paths_that_cannot_be(paths: list[dict[str, Any]], parts: list[str]) -> None:
    refused(*parts, paths=paths)


def test_paths_and_a_paradigm_exclude_each_other() -> None:
    refused("paths: they are given beside `paradigm`", "keep one of the two", paths=[TRUNK], paradigm="lrps")


# Growth


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(20, 60), min_size=1, max_size=4),
    more=st.integers(20, 60),
    shape=st.sampled_from([*SHAPES]),
    alpha=st.floats(0.3, 0.7),
)
def test_a_new_version_leaves_every_earlier_path_as_it_is(
    sizes: list[int], more: int, shape: str, alpha: float
) -> None:
    keys: dict[str, Any] = {
        "paradigm": ["lrps", "ptfs", "cpt"],
        "decay": {"shape": shape, "alpha": alpha},
        "lr": {"max": 3e-4, "min": 3e-5, "warmup_iters": 3},
    }
    before = tree_of(versions=versions(*sizes), **keys)
    after = tree_of(versions=versions(*sizes, more), **keys)
    assert len(after.paths) == len(before.paths) + 3
    for path in before.paths:
        grown = after.path(path.name)
        assert grown.end > path.end if path.name == "main" else grown.end == path.end
        assert replace(grown, end=path.end) == path


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(10, 50), min_size=1, max_size=5), st.floats(0.2, 0.9), st.sampled_from([*SHAPES]))
def test_main_and_branch_share_the_past_at_every_fork(sizes: list[int], alpha: float, shape: str) -> None:
    tree = tree_of(versions=versions(*sizes), decay={"alpha": alpha, "shape": shape})
    main = tree.path("main")
    for path in tree.paths[1:]:
        fork = path.fork * tree.plan.global_batch_size
        assert path.schedule.until(fork) == main.schedule.until(fork)
        assert path.fork <= main.end
        assert rate(tree, path.name, path.end) == tree.plan.lr.min
