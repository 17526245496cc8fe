"""pins.json: the checkpoints of a path that users want to keep, and why."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import read_json, write_atomic


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One pinned checkpoint.

    Attributes:
        iteration: The iteration of the checkpoint.
        note: The user's note; may be empty.
        time: When it was pinned, in UTC.
    """

    iteration: int
    note: str
    time: str


def read_pins(folder: PathFolder) -> dict[int, Pin]:
    """Read the path's pins by iteration, rising.

    Raises:
        RefusedError: pins.json is damaged: an unreadable pin might be on any checkpoint.
    """
    file = _file(folder)
    if not file.is_symlink() and not file.exists():
        return {}
    data = read_json(file)
    entries = data.get("pins") if data is not None else None
    pins = [_pin(entry) for entry in entries] if isinstance(entries, list) else [None]
    if None in pins:
        raise RefusedError(
            f"{file} cannot be read as pins, so which checkpoints are pinned is unknown.",
            "restore it; or remove it, and pin again.",
        )
    return {pin.iteration: pin for pin in sorted(filter(None, pins), key=lambda pin: pin.iteration)}


def add_pin(folder: PathFolder, iteration: int, note: str) -> None:
    """Pin a checkpoint; an existing pin gets the new note.

    Raises:
        RefusedError: the path has no complete checkpoint of that iteration; names those it has.
        StorageError: pins.json cannot be written.
    """
    saved = Checkpoints.in_folder(folder.checkpoints)
    if iteration not in saved.complete:
        there = "is not whole" if iteration in saved.torn else "does not exist"
        raise RefusedError(
            f"Checkpoint {iteration} of {folder.root.name} {there}; there are {_nearest(saved.complete, iteration)}.",
            "pin one of those.",
        )
    pin = Pin(iteration=iteration, note=note, time=datetime.now(UTC).isoformat(timespec="seconds"))
    _write(folder, (read_pins(folder) | {iteration: pin}).values())


def drop_pin(folder: PathFolder, iteration: int) -> None:
    """Remove a pin, whether or not its checkpoint exists; raises RefusedError naming the pins, and StorageError."""
    pins = read_pins(folder)
    if iteration not in pins:
        raise RefusedError(
            f"Checkpoint {iteration} of {folder.root.name} is not pinned; {_nearest(pins, iteration)} are.",
            "name a pinned one.",
        )
    _write(folder, (pin for pin in pins.values() if pin.iteration != iteration))


def _file(folder: PathFolder) -> Path:
    return folder.root / "pins.json"


def _pin(entry: object) -> Pin | None:
    try:
        pin = Pin(**entry)  # type: ignore[arg-type]
    except TypeError:
        return None
    texts = isinstance(pin.note, str) and isinstance(pin.time, str)
    return pin if texts and isinstance(pin.iteration, int) and not isinstance(pin.iteration, bool) else None


def _write(folder: PathFolder, pins: Iterable[Pin]) -> None:
    entries = [asdict(pin) for pin in sorted(pins, key=lambda pin: pin.iteration)]
    write_atomic(_file(folder), json.dumps({"pins": entries}, indent=2) + "\n")


def _nearest(iterations: Iterable[int], wanted: int) -> str:
    nearest = sorted(iterations, key=lambda each: abs(each - wanted))[:8]
    return ", ".join(map(str, sorted(nearest))) or "none"
