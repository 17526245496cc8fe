"""Exports, scores and releases get into path.json, and past a job that writes it at the same time."""

import threading
from pathlib import Path

import pytest
import yaml

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.lineage import facts_of
from megatron_lrps.campaign.record import read_record
from megatron_lrps.campaign.releases import note, notes_of
from megatron_lrps.plan import Tree, expand, parse_plan
from megatron_lrps.storage.ownership import acquire
from tests.campaign.records import plan_with_data, write_path


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = expand(parse_plan(yaml.safe_dump(plan_with_data()), base=tmp_path))
    write_path(made, "v1")
    return made


@pytest.fixture
def v1(tree: Tree) -> PathFolder:
    return CampaignFolder(tree.plan.folder).path("v1")


def test_the_newest_note_of_a_name_counts(v1: PathFolder) -> None:
    before = read_record(v1)
    note(v1, "scores", "web", iteration=900, perplexity=13.0)
    note(v1, "scores", "code", iteration=1000, perplexity=3.0)
    note(v1, "scores", "web", iteration=1000, perplexity=12.5)
    record = read_record(v1)
    assert record is not None
    scores = record.pop("scores")
    assert record == before
    assert {name: (each["iteration"], each["perplexity"]) for name, each in scores.items()} == {
        "web": (1000, 12.5),
        "code": (1000, 3.0),
    }


def test_a_trained_path_of_a_released_version_is_released(tree: Tree, v1: PathFolder) -> None:
    note(v1, "released", "v1", iteration=1000)
    record = read_record(v1)
    assert record is not None
    assert (record["status"], list(record["released"])) == ("released", ["v1"])
    write_path(tree, "v1", status="training")  # it was given a later end
    record = read_record(v1)
    assert record is not None
    assert (record["status"], list(record["released"])) == ("training", ["v1"])


def test_a_job_that_writes_path_json_is_not_disturbed_and_takes_the_note_over(tree: Tree, v1: PathFolder) -> None:
    with acquire(v1.root, say=lambda line: None):
        before = v1.record.read_bytes()
        note(v1, "exports", "exports/v1", iteration=1000, format="hf")
        assert v1.record.read_bytes() == before
        facts = facts_of(Campaign(tree), "v1")
        assert facts.values["exports"]["exports/v1"]["format"] == "hf"
        write_path(tree, "v1", status="training")
    record = read_record(v1)
    assert record is not None
    assert record["exports"]["exports/v1"]["iteration"] == 1000


def test_notes_at_the_same_time_all_arrive(v1: PathFolder) -> None:
    names = [f"set{number}" for number in range(8)]
    threads = [threading.Thread(target=note, args=(v1, "scores", name), kwargs={"iteration": 1000}) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = read_record(v1)
    assert record is not None
    assert sorted(record["scores"]) == names


def test_a_path_without_a_record_keeps_its_notes(tree: Tree) -> None:
    v2 = CampaignFolder(tree.plan.folder).path("v2")
    note(v2, "exports", "exports/v2", iteration=2000)
    assert not v2.record.exists()
    assert list(facts_of(Campaign(tree), "v2").values["exports"]) == ["exports/v2"]
    write_path(tree, "v2")
    assert notes_of(v2).keys() == {"exports"}
    assert (read_record(v2) or {})["exports"].keys() == {"exports/v2"}
