"""Files that a crash cannot tear: tmp + fsync + rename; and append-only lines."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from megatron_lrps.errors import StorageError


def write_atomic(path: Path, text: str) -> None:
    """Replace ``path`` with ``text``: after a crash it holds the old or the new text, never a part.

    Raises:
        StorageError: where the disk refuses; what was there before is intact.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}.", "make room, then rerun."
        ) from None


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line; a single write, so lines of two writers do not mix. Raises StorageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write((json.dumps(record) + "\n").encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}.", "make room, then rerun."
        ) from None


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``; None where it is absent, torn or no object: nothing on disk is trusted."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of an append-only file; a torn last line, or any other, is left out."""
    records = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records
