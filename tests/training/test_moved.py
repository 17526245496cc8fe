"""A campaign whose folder, data and tokenizer are moved between two starts goes on, digit for digit."""

import json
import shutil
from pathlib import Path

import pytest

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.record import read_record
from tests.training.campaigns import losses, train_path, write_campaign

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def stayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose main was stopped at 6 of 11; v1 has been trained."""
    plan = write_campaign(tmp_path_factory.mktemp("here") / "project")
    ended = train_path(plan, "main", "--exit-interval", "6")
    assert ended.codes == [75], ended.log[-3000:]
    return plan


def test_a_moved_campaign_goes_on(stayed: Path, tmp_path: Path) -> None:
    moved = tmp_path / "another disk" / "renamed"
    moved.parent.mkdir()
    shutil.copytree(stayed.parent, moved)
    (moved / "data").rename(moved / "corpus")
    (moved / "run").rename(moved / "the run")
    plan = moved / "plan.yaml"
    plan.write_text(plan.read_text().replace("data/", "corpus/").replace("save: run", "save: the run"))

    ended = train_path(stayed, "main")
    assert ended.codes == [0], ended.log[-3000:]
    hidden = stayed.parent.rename(stayed.parent.with_name("gone"))  # nothing may be read where it was
    for path in ("main", "v1"):
        ended = train_path(plan, path)
        assert ended.codes == [0], ended.log[-3000:]
    (moved / "run").symlink_to("the run")
    there = losses(plan, "main")
    assert {i: there[i] for i in range(7, 12)} == {i: losses(hidden / "plan.yaml", "main")[i] for i in range(7, 12)}

    record = read_record(PathFolder(moved / "the run/paths/v1"))
    assert record is not None
    assert [row[1] for row in record["data"]["windows"][0]["data"]] == [str(moved / "corpus/v1")]
    assert str(stayed.parent) not in json.dumps(record)
    assert str(stayed.parent) not in (moved / "the run/plan.yaml").read_text()
