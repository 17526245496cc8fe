"""Which files a plan's sources are, and what is refused as one."""

from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.data.prepare.find import find_sources
from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan import load_plan
from tests.data.prepare import jobs, tokenizers_of
from tests.data.prepare.jobs import prepare, write_jsonl, write_plan


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tokenizers_of.sentencepiece_bpe(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"data/a": "none/*.jsonl"}, "none/*.jsonl names no file of text"),
        ({"data/a": ["a.jsonl", "./a.jsonl"]}, "is the same file as"),
        ({"data/a": "a.csv"}, "a.csv is of an unknown kind"),
        ({"data/a": "splits"}, "holds several splits"),
        ({"data/a": "order"}, "holds a selection or another order of its rows"),
        ({"data/a": "escape"}, "names files outside its folder"),
        ({"data/a": {"files": "a.jsonl", "documents": "line"}}, "documents is given, but"),
        ({"data/a": {"files": "a.parquet", "field": "body"}}, "has no column 'body'; it has text"),
    ],
)
def test_what_cannot_be_a_source(sources: dict[str, Any], words: str, tokenizer: Any, tmp_path: Path) -> None:
    import datasets

    write_jsonl(tmp_path / "a.jsonl", ["x"])
    (tmp_path / "a.csv").write_text("text\nx\n")
    rows = datasets.Dataset.from_dict({"text": ["x", "y"]})
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "splits")
    rows.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "order").mkdir()
    (tmp_path / "order" / "state.json").write_text('{"_data_files": [], "_indices_files": [{"filename": "i.arrow"}]}')
    (tmp_path / "escape").mkdir()
    (tmp_path / "escape" / "state.json").write_text('{"_data_files": [{"filename": "../a.arrow"}]}')
    with pytest.raises(RefusedError) as refused:
        prepare(write_plan(tmp_path, tokenizer, sources))
    assert words in str(refused.value)
    assert "versions.v1.sources.data/a" in str(refused.value) or "a.parquet" in str(refused.value)


def test_a_source_belongs_to_an_index_and_an_index_has_one(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["x"])
    plan = write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"}, train=[[1.0, "data/b"]])
    with pytest.raises(PlanError, match=r"sources.data/a is not an index of this version"):
        prepare(plan)


def test_the_indexes_of_a_branchs_blend_have_sources_too(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_jsonl(tmp_path / f"{name}.jsonl", ["x"])
    own = {"data": [[1.0, "data/b"]], "sources": {"data/b": "b.jsonl"}}
    plan = write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"}, train=[[1.0, "data/a"]], branch=own)
    plan.write_text(plan.read_text() + "\nbranch: {data: [[1.0, data/c]], sources: {data/c: c.jsonl}}\n")
    listed = find_sources(load_plan(plan))
    assert [(source.key, source.trains) for source in listed] == [
        ("versions.v1.sources.data/a", True),
        ("branch.sources.data/c", True),
        ("versions.v1.branch.sources.data/b", True),
    ]
    assert [each.prefix.name for each in find_sources(load_plan(plan), ["v1"])] == ["a", "b"]
    assert [each.prefix.name for each in find_sources(load_plan(plan), ["data/c"])] == ["c"]


def test_no_source_is_refused(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    plan = write_plan(tmp_path, tokenizer, {}, train=[[1.0, "data/a"]])
    with pytest.raises(PlanError, match="none of them has `sources`"):
        jobs.prepare(plan)


def found(plan: Path) -> list[str]:
    """The files of the plan's one source, relative to the plan's folder."""
    (source,) = find_sources(load_plan(plan))
    return [str(file.path.relative_to(plan.parent)) for file in source.files]


def write_tree(folder: Path) -> None:
    """JSON Lines in folders, also behind a link and in a circle of links, and what is not to be read."""
    for name in ("raw/b/2.jsonl", "raw/a.jsonl", "raw/.hidden/1.jsonl", "raw/b/.3.jsonl", "other/4.jsonl"):
        write_jsonl(folder / name, ["x"])
    (folder / "raw" / "link").symlink_to(folder / "other")
    (folder / "raw" / "b" / "circle").symlink_to(folder / "raw")
    (folder / "raw" / "LICENSE").write_text("no text")


def test_a_folders_files_in_order_also_behind_links(tmp_path: Path) -> None:
    write_tree(tmp_path)
    plan = write_plan(tmp_path, {}, {"data/a": "raw"})
    assert found(plan) == ["raw/a.jsonl", "raw/b/2.jsonl", "raw/link/4.jsonl"]


def test_kinds_are_not_mixed_unasked(tmp_path: Path) -> None:
    write_tree(tmp_path)
    (tmp_path / "raw" / "README.md").write_text("about the data")
    with pytest.raises(RefusedError, match=r"several kinds: 3 jsonl \(a.jsonl\), 1 text \(README.md\)"):
        found(write_plan(tmp_path, {}, {"data/a": "raw"}))
    jsonl = ["raw/a.jsonl", "raw/b/2.jsonl", "raw/link/4.jsonl"]
    assert found(write_plan(tmp_path, {}, {"data/a": {"files": "raw", "format": "jsonl"}})) == jsonl
    assert found(write_plan(tmp_path, {}, {"data/a": ["raw/README.md", "raw/a.jsonl"]})) == [
        "raw/README.md",
        "raw/a.jsonl",
    ]
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "part-0").write_text("no suffix")
    assert found(write_plan(tmp_path, {}, {"data/a": {"files": "odd", "format": "text"}})) == ["odd/part-0"]


def test_a_cache_of_datasets_is_refused(tmp_path: Path) -> None:
    """Its files are of several splits, test sets among them."""
    (tmp_path / "cache").mkdir()
    for name in ("dataset_info.json", "x-train.arrow", "x-test.arrow"):
        (tmp_path / "cache" / name).write_text("{}")
    with pytest.raises(RefusedError, match=r"without state\.json, so its splits are unknown"):
        found(write_plan(tmp_path, {}, {"data/a": "cache"}))
