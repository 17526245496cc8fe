"""Which data a path reads, and what is refused where they are not there."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import Tree, expand, parse_plan
from megatron_lrps.plan.data_files import missing_indexes, require_data, validation_sets
from tests.plan.plans import assert_one_clear_line, plan_dict

VERSIONS = [
    {"name": "a", "iters": 100, "train": [[0.7, "web"], [0.3, "code"]], "valid": {"web": "vweb"}},
    {"name": "b", "iters": 100, "train": [[1.0, "news"]], "valid": {"same": "./vweb", "news": "vnews"}},
]


def tree_in(folder: Path, versions: list[dict[str, Any]] | None = None) -> Tree:
    return expand(parse_plan(yaml.safe_dump(plan_dict(versions=versions or VERSIONS)), base=folder))


def touch(folder: Path, *prefixes: str) -> None:
    for prefix in prefixes:
        (folder / f"{prefix}.bin").touch()
        (folder / f"{prefix}.idx").touch()


def test_blends_and_validation_sets(tmp_path: Path) -> None:
    tree = tree_in(tmp_path)
    assert tree.windows[0].version.train == ((0.7, tmp_path / "web"), (0.3, tmp_path / "code"))
    assert validation_sets(tree, tree.path("a")) == {"a-web": tmp_path / "vweb"}
    # b names a's set again: evaluated once, under its first name
    assert validation_sets(tree, tree.path("b")) == {"a-web": tmp_path / "vweb", "b-news": tmp_path / "vnews"}
    assert list(validation_sets(tree, tree.path("main"))) == ["a-web", "b-news"]  # main ends at 140, in b's window


def test_missing_indexes_need_both_files(tmp_path: Path) -> None:
    tree = tree_in(tmp_path)
    everything = [tmp_path / name for name in ("web", "code", "news", "vweb", "vnews")]
    assert missing_indexes(tree) == everything
    touch(tmp_path, "web", "news", "vweb", "vnews")
    (tmp_path / "code.bin").touch()
    assert missing_indexes(tree) == [tmp_path / "code"]
    (tmp_path / "code.idx").touch()
    assert missing_indexes(tree) == []


def test_a_path_needs_its_own_windows_data_alone(tmp_path: Path) -> None:
    tree = tree_in(tmp_path)
    touch(tmp_path, "web", "code", "vweb")
    require_data(tree, tree.path("a"))
    with pytest.raises(PlanError) as caught:
        require_data(tree, tree.path("b"))
    assert_one_clear_line(caught.value, f"versions.b.train: {tmp_path}/news has no .bin and .idx", "lrps prepare PLAN")
    touch(tmp_path, "news")
    with pytest.raises(PlanError) as caught:
        require_data(tree, tree.path("b"))
    assert_one_clear_line(caught.value, f"versions.b.valid: {tmp_path}/vnews has no .bin and .idx")
    touch(tmp_path, "vnews")
    require_data(tree, tree.path("b"))


def test_the_fix_of_missing_data_is_what_makes_them(tmp_path: Path) -> None:
    version = {"name": "a", "iters": 100, "train": [[1.0, "web"]], "valid": {"v": "vweb"}}
    with pytest.raises(PlanError) as caught:
        require_data(tree := tree_in(tmp_path, [version]), tree.path("a"))
    assert_one_clear_line(caught.value, "name its raw text under versions.a.sources, and make it: lrps prepare PLAN.")
    tree = tree_in(tmp_path, [version | {"sources": {"web": "web.jsonl"}}])
    with pytest.raises(PlanError) as caught:
        require_data(tree, tree.path("a"))
    assert caught.value.fix == "make it from its `sources`: lrps prepare PLAN."
    (tmp_path / "web.bin").touch()
    with pytest.raises(PlanError, match=r"versions\.a\.train: .*/web has no \.idx\."):
        require_data(tree, tree.path("a"))
    touch(tmp_path, "web")
    with pytest.raises(PlanError, match=r"versions\.a\.valid: .* Fix: correct the path; or name its raw text"):
        require_data(tree, tree.path("a"))


def test_a_blend_needs_its_own_indexes_in_place_of_its_windows(tmp_path: Path) -> None:
    own = [VERSIONS[0], {**VERSIONS[1], "branch": {"data": [[0.5, "./web"], [0.5, "./books"]]}}]
    tree = tree_in(tmp_path, own)
    touch(tmp_path, "web", "vweb", "vnews")
    with pytest.raises(PlanError) as refusal:
        require_data(tree, tree.path("b"))
    assert_one_clear_line(
        refusal.value,
        f"versions.b.branch.data: {tmp_path}/books has no .bin and .idx",
        "under versions.b.branch.sources",
    )
    assert tmp_path / "books" in missing_indexes(tree)
    touch(tmp_path, "books")
    require_data(tree, tree.path("b"))  # neither code nor news, which only main reads
    with pytest.raises(PlanError, match=r"versions\.a\.train: .*/code has no"):
        require_data(tree, tree.path("main"))


def test_an_index_named_by_one_of_its_files(tmp_path: Path) -> None:
    touch(tmp_path, "web")
    tree = tree_in(tmp_path, [{"name": "a", "iters": 100, "train": [[1.0, "web.bin"]]}])
    with pytest.raises(PlanError, match=r"web\.bin has no \.bin and \.idx\. Fix: name it without \.bin\."):
        require_data(tree, tree.path("a"))


def test_a_version_without_training_data_is_refused(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, [{"name": "a", "iters": 100}])
    with pytest.raises(PlanError) as caught:
        require_data(tree, tree.path("a"))
    assert_one_clear_line(caught.value, "versions.a.train is missing", "add [weight, index prefix] pairs")


def test_a_prefix_that_no_file_system_takes_is_missing(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, [{"name": "a", "iters": 100, "train": [[1.0, "x" * 5000]]}])
    assert len(missing_indexes(tree)) == 1
    with pytest.raises(PlanError, match=r"versions\.a\.train: .* has no \.bin and \.idx"):
        require_data(tree, tree.path("a"))


def test_a_folder_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "web.bin").mkdir()
    (tmp_path / "web.idx").mkdir()
    tree = tree_in(tmp_path, [{"name": "a", "iters": 100, "train": [[1.0, "web"]]}])
    assert missing_indexes(tree) == [tmp_path / "web"]


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    tree = tree_in(
        tmp_path,
        [{"name": "v", "iters": 100, "valid": {"1-a": "x"}}, {"name": "v-1", "iters": 100, "valid": {"a": "y"}}],
    )
    with pytest.raises(PlanError) as caught:
        validation_sets(tree, tree.path("v-1"))
    assert_one_clear_line(caught.value, "versions.v-1.valid.a: two different sets would be called v-1-a", "rename")
