"""path.json and events.jsonl: the record of a path, and its history."""

import json
from datetime import UTC, datetime
from typing import Any

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import append_line, read_json, read_lines, write_atomic

RECORD_VERSION = 1


def write_record(folder: PathFolder, record: dict[str, Any]) -> None:
    """Replace path.json atomically; raises StorageError."""
    write_atomic(folder.record, json.dumps({"record_version": RECORD_VERSION, **record}, indent=2) + "\n")


def read_record(folder: PathFolder) -> dict[str, Any] | None:
    """Read path.json; None if it is absent, torn or not in the form of ``write_record``.

    Raises:
        RefusedError: a newer lrps has written it, whose keys may mean something else.
    """
    record = read_json(folder.record)
    version = record.get("record_version") if record is not None else None
    if type(version) is not int or version < RECORD_VERSION:
        return None
    if version > RECORD_VERSION:
        raise RefusedError(
            f"{folder.record} is of record_version {version}, and this lrps reads {RECORD_VERSION}.",
            "use the newer lrps that wrote it.",
        )
    return record


def log_event(folder: PathFolder, event: str, **fields: Any) -> None:
    """Append an event to the path's history: its name, the time in UTC, and its fields."""
    append_line(folder.events, {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **fields})


def events(folder: PathFolder, *, after_line: int = 0) -> list[dict[str, Any]]:
    """Read the path's history, oldest first, without the first ``after_line`` lines of its file."""
    return read_lines(folder.events, after_line=after_line)
