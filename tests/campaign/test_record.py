"""path.json and events.jsonl."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.record import (
    RECORD_VERSION,
    events,
    log_event,
    read_record,
    write_record,
)
from megatron_lrps.errors import RefusedError
from tests.plan.plans import tree_of

SCHEDULE = tree_of().path("v1").schedule.to_json()


def test_records_round_trip(tmp_path: Path) -> None:
    folder = PathFolder(tmp_path / "paths/v1")
    assert read_record(folder) is None
    write_record(folder, {"parent": "main", "fork": 400, "schedule": SCHEDULE})
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


def test_events_after_a_line_of_their_file(tmp_path: Path) -> None:
    folder = PathFolder(tmp_path)
    folder.events.write_text('{"event": "a"}\n{"event": "torn\n{"event": "b"}\n')
    assert [event["event"] for event in events(folder, after_line=2)] == ["b"]
    assert events(folder, after_line=9) == []
