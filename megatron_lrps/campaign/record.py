"""path.json and events.jsonl: what a path is, and what happened to it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.manifest import sync_small_files
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath
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


def trained_to(campaign: CampaignFolder, path: PlannedPath, iteration: int) -> bool:
    """Whether the path is trained to an iteration: the one judgement of `lrps run`, of jobs and of `lrps status`.

    Its checkpoint there was finished and has the files that its manifest lists, in their sizes. What happened to the
    ranks afterwards takes nothing away from it.
    """
    return path.fork < iteration <= path.end and Checkpoint(campaign.path(path.name).checkpoints, iteration).is_whole


def end_is_kept(
    campaign: CampaignFolder, path: PlannedPath, iteration: int, history: Sequence[Mapping[str, Any]]
) -> bool:
    """As ``trained_to``, after ranks have failed: what they may not have come to is written to the disk first.

    Args:
        campaign: The campaign's folder.
        path: The path.
        iteration: The iteration that they were to train it to.
        history: The events that they left, oldest first: a checkpoint in whose content they found damage, and that
            they have not saved anew, is none.
    """
    told = [event.get("event") for event in history if event.get("iteration") == iteration]
    if [name for name in told if name in ("saved", "skipped")][-1:] == ["skipped"]:
        return False
    if not trained_to(campaign, path, iteration):
        return False
    try:
        sync_small_files(Checkpoint(campaign.path(path.name).checkpoints, iteration).folder)
    except OSError:  # then nobody knows what a crash of this machine would leave
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class PathState:
    """Where a path stands, read from its checkpoints (not from what any record claims).

    Attributes:
        name: The path's.
        saved: Its newest complete checkpoint's iteration, or None; a branch that has saved nothing is at its fork.
        done: It is trained to its end, as ``trained_to`` judges.
        ready: Its fork point exists, or it has none.
    """

    name: str
    saved: int | None
    done: bool
    ready: bool


def state_of(campaign: CampaignFolder, path: PlannedPath) -> PathState:
    """The state of a path."""
    complete = Checkpoints.in_folder(campaign.path(path.name).checkpoints).complete
    done = trained_to(campaign, path, path.end)
    own = [iteration for iteration in complete if path.fork < iteration < path.end + done]
    ready = True
    origin = campaign.origin(path)
    if origin is not None and not own:
        ready = path.fork in Checkpoints.in_folder(origin).complete
    return PathState(name=path.name, saved=max(own, default=None), done=done, ready=ready)
