"""Files that Megatron's arguments name: known by what they hold, wherever they lie."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.same_run import NAMED_FILES, named_files, refuse_other_files
from megatron_lrps.errors import RefusedError


@pytest.fixture
def run(tmp_path: Path) -> dict[str, Any]:
    for name in ("vocab.json", "merges.txt", "formats.yaml"):
        (tmp_path / name).write_text(name)
    return {
        "vocab_file": str(tmp_path / "vocab.json"),
        "merge_file": str(tmp_path / "merges.txt"),
        "te_precision_config_file": str(tmp_path / "formats.yaml"),
        "metadata_path": None,
    }


def test_a_moved_file_is_the_same_file(run: dict[str, Any], tmp_path: Path) -> None:
    saved = {NAMED_FILES: named_files(run), **run}
    (tmp_path / "vocab.json").rename(tmp_path / "renamed.json")
    refuse_other_files(saved, {**run, "vocab_file": str(tmp_path / "renamed.json")}, "main 4")


@pytest.mark.parametrize(
    ("key", "flag"),
    [("vocab_file", "vocab-file"), ("merge_file", "merge-file"), ("te_precision_config_file", "te-precision-config")],
)
def test_another_content_in_its_place_is_refused_by_name(key: str, flag: str, run: dict[str, Any]) -> None:
    saved = {NAMED_FILES: named_files(run)}
    Path(run[key]).write_text("another")
    with pytest.raises(RefusedError, match=rf"--{flag}.*, the content of its file: .* in this run, .* in main 4"):
        refuse_other_files(saved, run, "main 4")
    with pytest.raises(RefusedError, match="the content of its file: none in this run"):
        refuse_other_files(saved, {**run, key: None}, "main 4")


def test_a_file_that_was_not_named_then_is_refused(run: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=r"--vocab-file.* none in main 4"):
        refuse_other_files({NAMED_FILES: "{}"}, run, "main 4")


@pytest.mark.parametrize("recorded", [{}, {NAMED_FILES: None}, {NAMED_FILES: "{torn"}, {NAMED_FILES: "[]"}])
def test_a_checkpoint_that_does_not_say_is_not_compared(recorded: dict[str, Any], run: dict[str, Any]) -> None:
    refuse_other_files(recorded, run, "main 4")


def test_what_a_checkpoint_carries_is_plain_json(run: dict[str, Any]) -> None:
    assert json.loads(named_files(run)).keys() == {"vocab_file", "merge_file", "te_precision_config_file"}
    assert named_files({}) == "{}"
