"""Notes on a path after its training: its exports, its scores, its release.

path.json has one writer at a time, which may be a training job. A note is therefore appended to events.jsonl, which any
process may do, and path.json gets the sum of all notes: from the job, with each record that it writes, or from the
note's writer if no job holds the path. Until then ``lineage.facts_of`` reads the notes from events.jsonl.
"""

from collections.abc import Mapping
from typing import Any, Literal

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.record import events, log_event, read_record, write_record
from megatron_lrps.storage.ownership import holder

Kind = Literal["exports", "scores", "released"]
"""path.json's key: folder -> export, name -> scores, version -> release."""
_EVENTS: dict[str, Kind] = {"exported": "exports", "scored": "scores", "released": "released"}
UNMET = "gate_failed"
"""The event of a version that did not meet its gate."""
_TRIES = 100


def note(folder: PathFolder, kind: Kind, name: str, *, iteration: int, **facts: Any) -> None:
    """Record a note on a path, durably; a later note of the same kind and name replaces it.

    Args:
        folder: The path's folder.
        kind: The kind of the note.
        name: The folder of the export, the name of the scores, or the version.
        iteration: The iteration of the checkpoint that it is about.
        facts: The note's content, as JSON.

    Raises:
        StorageError: the disk refuses.
    """
    event = next(event for event, key in _EVENTS.items() if key == kind)
    log_event(folder, event, iteration=iteration, name=name, facts=facts)
    # Another note may come in between: the last writer has read all notes.
    for _ in range(_TRIES):
        record = read_record(folder)
        if record is None or holder(folder.root) is not None or (noted := with_notes(record, folder)) == record:
            return
        write_record(folder, noted)


def notes_of(folder: PathFolder) -> dict[str, dict[str, Any]]:
    """Return a path's notes: kind -> name -> ``iteration``, ``time`` and facts; kinds without notes are left out."""
    found: dict[str, dict[str, Any]] = {}
    for event in events(folder):
        name, facts = event.get("name"), event.get("facts")
        kind = _EVENTS.get(str(event.get("event")))
        if kind and isinstance(name, str) and isinstance(facts, dict):
            found.setdefault(kind, {})[name] = {"iteration": event.get("iteration"), "time": event.get("time"), **facts}
    return found


def releases_of(folder: PathFolder, iteration: int) -> list[dict[str, Any]]:
    """Return the release notes of a path's checkpoint at an iteration; empty if it is not released."""
    return [each for each in notes_of(folder).get("released", {}).values() if each.get("iteration") == iteration]


def note_unmet(
    folder: PathFolder, version: str, *, iteration: int, sha256: str | None, gate: str | None, unmet: Mapping[str, str]
) -> None:
    """Record durably that a checkpoint did not meet a gate, once for the same numbers.

    Args:
        folder: The path's folder.
        version: The version that was to be released.
        iteration: The iteration of the checkpoint.
        sha256: The hash of its manifest, or None.
        gate: The file of conditions; None if it was promoted without one after failing one earlier.
        unmet: Condition -> the condition with its numbers.

    Raises:
        StorageError: the disk refuses.
    """
    facts = {"checkpoint_sha256": sha256, "gate": gate, "unmet": dict(unmet)}
    known = ({**each["facts"], "gate": gate} for each in _unmet(folder, version, iteration))
    if facts not in known:
        message = "; ".join(unmet.values())
        log_event(folder, UNMET, iteration=iteration, name=version, message=message, facts=facts)


def unmet_before(folder: PathFolder, version: str, *, iteration: int, sha256: str | None) -> list[str]:
    """Return the conditions that this checkpoint failed at earlier promotions, each once, oldest first."""
    found: dict[str, None] = {}
    for event in _unmet(folder, version, iteration):
        facts = event["facts"]
        if facts.get("checkpoint_sha256") == sha256 and isinstance(facts.get("unmet"), dict):
            found.update(dict.fromkeys(facts["unmet"]))
    return list(found)


def _unmet(folder: PathFolder, version: str, iteration: int) -> list[dict[str, Any]]:
    wanted = {"event": UNMET, "name": version, "iteration": iteration}
    return [
        event
        for event in events(folder)
        if isinstance(event.get("facts"), dict) and all(event.get(key) == value for key, value in wanted.items())
    ]


def with_notes(record: Mapping[str, Any], folder: PathFolder) -> dict[str, Any]:
    """Return a record with the path's notes added; the trained path of a released version is ``released``."""
    notes = notes_of(folder)
    noted = {**record, **notes}
    if "released" in notes and record.get("status") == "trained":
        noted["status"] = "released"
    return noted
