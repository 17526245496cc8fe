"""path.json, events.jsonl, and where a path stands by its checkpoints."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.manifest import MANIFEST, take_sizes
from megatron_lrps.campaign.record import (
    RECORD_VERSION,
    PathState,
    end_is_kept,
    events,
    log_event,
    read_record,
    state_of,
    trained_to,
    write_record,
)
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath
from tests.campaign import checkpoints
from tests.plan.plans import tree_of

TREE = tree_of(paradigm=["lrps", "cpt"])  # main to 1400, v1 from 400 to 1000, v2 from 1400 to 2000
MAIN, V1 = TREE.path("main"), TREE.path("v1")


def save(campaign: CampaignFolder, path: str, *iterations: int, whole: bool = True) -> None:
    checkpoints.save(campaign.path(path).checkpoints, *iterations, whole=whole)


def state(campaign: CampaignFolder, path: PlannedPath) -> tuple[int | None, bool, bool]:
    found = state_of(campaign, path)
    assert found.name == path.name
    return found.saved, found.done, found.ready


def test_records_round_trip(tmp_path: Path) -> None:
    folder = PathFolder(tmp_path / "paths/v1")
    assert read_record(folder) is None
    write_record(folder, {"parent": "main", "fork": 400, "schedule": V1.schedule.to_json()})
    write_record(folder, {"parent": "main", "fork": 400, "schedule": []})
    assert read_record(folder) == {"record_version": RECORD_VERSION, "parent": "main", "fork": 400, "schedule": []}
    folder.record.write_text(folder.record.read_text()[:-10])
    assert read_record(folder) is None


def test_a_record_of_a_newer_lrps_is_refused(tmp_path: Path) -> None:
    folder = PathFolder(tmp_path)
    folder.record.write_text(json.dumps({"record_version": RECORD_VERSION + 1, "fork": 400}))
    with pytest.raises(RefusedError) as refusal:
        read_record(folder)
    assert str(refusal.value) == (
        f"{folder.record} is of record_version {RECORD_VERSION + 1}, and this lrps reads {RECORD_VERSION}. "
        "Fix: use the newer lrps that wrote it."
    )


@pytest.mark.parametrize("version", [None, True, "1", 1.0, 0, [1]])
def test_a_record_without_its_version_is_none(tmp_path: Path, version: Any) -> None:
    folder = PathFolder(tmp_path)
    folder.record.write_text(json.dumps({"record_version": version, "fork": 400}))
    assert read_record(folder) is None
    folder.record.write_text('{"fork": 400}')
    assert read_record(folder) is None


def test_events_keep_their_order_and_time(tmp_path: Path) -> None:
    folder = PathFolder(tmp_path / "paths/v1")
    assert events(folder) == []
    log_event(folder, "started", iteration=400)
    with folder.events.open("a") as file:
        file.write('{"event": "sav')
    log_event(folder, "stopped", why="signal")
    first, last = events(folder)
    assert (first["event"], first["iteration"]) == ("started", 400)
    assert (last["event"], last["why"]) == ("stopped", "signal")
    assert datetime.fromisoformat(first["time"]).utcoffset() == timedelta(0)


def test_nothing_yet(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    assert state_of(campaign, MAIN) == PathState(name="main", saved=None, done=False, ready=True)
    assert state(campaign, V1) == (None, False, False)
    assert state(campaign, TREE.path("cpt-v1")) == (None, False, True)
    assert state(campaign, TREE.path("cpt-v2")) == (None, False, False)


def test_a_branch_is_ready_once_its_fork_point_is_whole(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    save(campaign, "main", 200, 600)
    assert state(campaign, V1) == (None, False, False)
    save(campaign, "main", 400, whole=False)
    assert state(campaign, V1) == (None, False, False)
    (Checkpoint(campaign.path("main").checkpoints, 400).folder / ".metadata").write_text("x")
    assert state(campaign, V1) == (None, False, True)
    assert state(campaign, MAIN) == (600, False, True)


def test_a_branch_that_has_saved_needs_its_fork_point_no_more(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    save(campaign, "v1", 600)
    save(campaign, "v1", 800, whole=False)
    assert state(campaign, V1) == (600, False, True)
    save(campaign, "v1", 1000)
    assert state(campaign, V1) == (1000, True, True)


def test_checkpoints_outside_of_the_path_are_not_its_own(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    save(campaign, "v1", 300, 400, 1200)  # before its fork, at it, past its end
    assert state(campaign, V1) == (None, False, False)
    save(campaign, "main", 1500)  # main's end was later in another plan
    assert state(campaign, MAIN) == (None, False, True)
    save(campaign, "main", 1400)
    assert state(campaign, MAIN) == (1400, True, True)


def test_a_torn_end_is_not_done(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    save(campaign, "main", 1000)
    save(campaign, "main", 1400, whole=False)
    assert state(campaign, MAIN) == (1000, False, True)


def test_a_path_is_trained_to_what_is_whole(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    save(campaign, "v1", 400, 600, 1000)
    save(campaign, "v1", 800, whole=False)
    end = Checkpoint(campaign.path("v1").checkpoints, 1000).folder
    assert [each for each in (400, 500, 600, 800, 1000, 1200) if trained_to(campaign, V1, each)] == [600, 1000]
    take_sizes(end)
    assert trained_to(campaign, V1, 1000)
    assert state(campaign, V1) == (1000, True, True)
    (end / "metadata.json").write_text("longer than it was saved")
    assert not trained_to(campaign, V1, 1000)
    assert state(campaign, V1) == (600, False, True)  # so it is trained again from there
    (end / MANIFEST).unlink()
    assert trained_to(campaign, V1, 1000)  # as stock Megatron leaves it


def test_after_a_failure_an_end_that_was_found_damaged_counts_once_it_is_saved_anew(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    save(campaign, "v1", 1000)
    told: list[dict[str, Any]] = [{"event": "started", "iteration": 400}, {"event": "alert"}]
    assert end_is_kept(campaign, V1, 1000, told)
    assert end_is_kept(campaign, V1, 1000, [*told, {"event": "skipped", "iteration": 600}])
    told.append({"event": "skipped", "iteration": 1000})
    assert not end_is_kept(campaign, V1, 1000, told)
    assert end_is_kept(campaign, V1, 1000, [*told, {"event": "saved", "iteration": 1000}])
    assert not end_is_kept(campaign, V1, 800, [{"event": "saved", "iteration": 800}])  # it is not there


def test_events_after_a_line_of_their_file(tmp_path: Path) -> None:
    folder = PathFolder(tmp_path)
    folder.events.write_text('{"event": "a"}\n{"event": "torn\n{"event": "b"}\n')
    assert [event["event"] for event in events(folder, after_line=2)] == ["b"]
    assert events(folder, after_line=9) == []
