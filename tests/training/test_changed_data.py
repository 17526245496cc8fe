"""Data that change, or go, between two runs of a path that replays; trained by real Megatron."""

import json
from pathlib import Path

import pytest

from tests.training.campaigns import losses, train_path, write_campaign

pytestmark = pytest.mark.training

CHANGES = {"v1": "idx", "v3": "bin"}
"""Each with its file that is changed: v1 is passed and replayed, v3 is current."""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """v1 (0, 8], v2 (8, 14] and v3 (14, 20], which replays v1; main is stopped at 16 on its way to 17."""
    plan = write_campaign(tmp_path_factory.mktemp("campaign"))
    data = plan.parent / "data"
    for suffix in (".bin", ".idx"):
        (data / f"v3{suffix}").write_bytes((data / f"v2{suffix}").read_bytes())
    v3 = "  - {name: v3, iters: 6, train: [[1.0, data/v3]], replay: {share: 0.5, weights: {v1: 1}}}\ntokenizer:"
    plan.write_text(plan.read_text().replace("tokenizer:", v3, 1))
    ended = train_path(plan, "main", "--exit-interval", "16")
    assert ended.codes == [75], ended.log[-3000:]
    return plan


@pytest.mark.parametrize("prefix", CHANGES)
def test_a_changed_file_is_refused_by_its_name(campaign: Path, prefix: str) -> None:
    file = campaign.parent / "data" / f"{prefix}.{CHANGES[prefix]}"
    original = file.read_bytes()
    file.write_bytes(original[:-8] + bytes(byte ^ 1 for byte in original[-8:]))
    try:
        ended = train_path(campaign, "main")
    finally:
        file.write_bytes(original)
    assert ended.codes == [78]
    assert f"versions.{prefix}.train: {file.with_suffix('')} ({CHANGES[prefix]} " in ended.log
    assert "restore it, or name a copy of what was trained" in ended.log


def test_data_that_are_passed_may_be_gone(campaign: Path) -> None:
    data = campaign.parent / "data"
    for suffix in (".bin", ".idx"):
        (data / f"v2{suffix}").unlink()
    ended = train_path(campaign, "main")
    assert ended.codes == [0], ended.log[-3000:]
    assert sorted(losses(campaign, "main")) == list(range(1, 18))
    record = json.loads((campaign.parent / "run" / "paths" / "main" / "path.json").read_text())
    assert record["status"] == "trained"
    v1, v2, v3 = record["data"]["windows"]
    assert v3["replay"] == {"share": 0.5, "samples": {"v1": 12}}
    # what was recorded of v2 stands; its data had been v3's too
    assert v2["data"][0][2] == v3["data"][0][2] != v1["data"][0][2]
