"""path.json and events.jsonl: what a path is, and what happened to it."""

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
    """path.json, or None where it is absent, torn or not as ``write_record`` writes it.

    Raises:
        RefusedError: where a newer lrps has written it, whose keys may mean something else.
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
    """Append an event to the path's history: its name, the time in UTC, and what it says."""
    append_line(folder.events, {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **fields})


def events(folder: PathFolder, *, after_line: int = 0) -> list[dict[str, Any]]:
    """The path's history, oldest first; of the lines after so many in its file."""
    return read_lines(folder.events, after_line=after_line)
