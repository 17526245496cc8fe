"""``branch``: what each branch reads, and what is refused."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import parse_plan, plan_hash, plan_text
from megatron_lrps.plan.branch_data import own_data_words
from megatron_lrps.plan.data_files import has_sources, missing_indexes
from tests.plan.plans import BASE, assert_one_clear_line, tree_of

V1 = {"name": "v1", "iters": 1000, "train": [[3.0, "data/web"], [1.0, "data/code"]], "valid": {"web": "data/valid"}}
V2 = {"name": "v2", "iters": 1000, "train": [[1.0, "data/news"]]}
BLEND = {"data": [[0.5, "v1"], [0.25, "data/web"], [0.25, "./v1"]]}
DATA = BASE / "data"


def test_branches_read_on_in_their_window_by_default() -> None:
    tree = tree_of(versions=[V1, V2])
    assert {(path.order, path.blend) for path in tree.paths} == {("chained", ())}
    assert tree.paths == tree_of(versions=[V1, V2], branch={"data": "window"}).paths


def test_a_version_says_what_its_own_branch_reads() -> None:
    cut = {"name": "cut", "fork": 900, "iters": 50}
    tree = tree_of(
        versions=[{**V1, "branch": BLEND}, V2], branch={"data": "mixed"}, cuts=[cut], paradigm=["lrps", "ptfs"]
    )
    assert {path.name: path.order for path in tree.paths} == {
        **{"main": "chained", "v1": "blend", "v2": "mixed", "cut": "mixed"},
        **{"ptfs-v1": "mixed", "ptfs-v2": "mixed"},
    }
    # Half by v1's own weights, and a quarter more of web; ./v1 is an index and no version.
    assert tree.path("v1").blend == ((0.625, DATA / "web"), (0.125, DATA / "code"), (0.25, BASE / "v1"))
    assert own_data_words(tree, tree.path("v1")) == "a blend of 0.625 data/web, 0.125 data/code, 0.25 v1"
    assert own_data_words(tree, tree.path("v2")) == "the windows v1, v2 mixed"
    assert own_data_words(tree, tree.path("main")) == own_data_words(tree, tree.path("ptfs-v2")) == ""


def test_nothing_but_the_branch_changes() -> None:
    plain, own = tree_of(versions=[V1, V2]), tree_of(versions=[V1, V2], branch={"data": "mixed"})
    for before, after in zip(plain.paths, own.paths, strict=True):
        changed = {key for key, value in vars(before).items() if value != vars(after)[key]}
        assert changed == (set() if before.name == "main" else {"order"})


def test_the_windows_behind_a_blend_are_mains() -> None:
    tree = tree_of(versions=[V1, {**V2, "decay": {"alpha": 1.0}, "branch": {"data": [[1.0, "v1"]]}}])
    assert [window.version.name for window in tree.windows_of(tree.path("v2"))] == ["v1", "v2"]  # validated on both
    assert [window.version.name for window in tree.data_windows(tree.path("v2"))] == ["v1"]


def test_it_is_written_as_it_was_read() -> None:
    plan = tree_of(versions=[{**V1, "branch": BLEND}, V2], branch={"data": "mixed"}).plan
    for inside in (None, BASE):
        again = parse_plan(plan_text(plan, inside=inside), base=BASE)
        assert again == plan
    assert plan_hash(again) == plan_hash(plan)


@pytest.mark.parametrize(
    ("branch", "words"),
    [
        ({"data": "blend"}, ["branch.data: 'blend' is neither window nor mixed"]),
        ({"data": [[0, "data/x"]]}, ["branch.data[0][0]: 0"]),
        ({"data": [[1.0, "v2"]]}, ["branch.data: v2 is a later version than v1", "choose from v1;", "./v2"]),
        ({"data": [[1.0, "v7"]]}, ["branch.data: v7 is no version of the plan"]),
        ({"data": [[1.0, "v1"], [1.0, "data/valid"]]}, ["branch.data: data/valid is versions.v1.valid.web too"]),
        ({"data": "mixed", "sources": {"data/x": "raw"}}, ["branch: sources.data/x is not an index of this branch"]),
        ({"order": "mixed"}, ["branch.order is an unknown key"]),
    ],
)
def test_what_is_refused(branch: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(PlanError) as refusal:
        tree_of(versions=[V1, V2], branch=branch)
    assert_one_clear_line(refusal.value, *words)


def test_what_an_adopted_run_has_read_is_not_known() -> None:
    main = {"adopt": "runs/stock", "iteration": 100}
    for data, words in (
        ("mixed", ["branch.data: mixed, for v1, is given beside main.adopt"]),
        ([[1.0, "adopted"]], ["branch.data: adopted is the adopted run, and no plan knows its data"]),
    ):
        with pytest.raises(PlanError) as refusal:
            tree_of(versions=[V1, V2], main=main, branch={"data": data})
        assert_one_clear_line(refusal.value, *words)
    tree = tree_of(versions=[V1, V2], main=main, branch={"data": [[1.0, "v1"]]})
    assert tree.path("v1").blend == ((0.75, DATA / "web"), (0.25, DATA / "code"))


def test_its_indexes_are_among_the_files_and_may_have_sources() -> None:
    own = {"data": [[1.0, "data/own"]], "sources": {"data/own": "raw/own"}}
    tree = tree_of(versions=[V1, {**V2, "branch": own}], branch={"data": [[1.0, "data/all"]]})
    assert {DATA / "own", DATA / "all"} <= set(missing_indexes(tree))
    assert has_sources(tree.plan, DATA / "own")
    assert not has_sources(tree.plan, DATA / "all")
