"""Files that a crash cannot tear: tmp + fsync + rename; and append-only lines."""

import contextlib
import errno
import json
import os
import secrets
from pathlib import Path
from typing import Any

from megatron_lrps.errors import StorageError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace ``path`` with ``content``: after a crash it holds the old or the new, never a part.

    Raises:
        StorageError: where the disk refuses; what was there before is intact.
    """
    # tempfile's would be readable by their owner alone, and a team shares its campaigns.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StorageError(f"{path} could not be written: {error.strerror or error}.", _fix(path, error)) from None


def _fix(path: Path, error: OSError) -> str:
    """What helps: room is only one of the things that a file may lack."""
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        blocking = (folder for folder in path.parents if folder.exists() and not folder.is_dir())
        if (found := next(blocking, None)) is not None:
            return f"move {found} away, which is no folder, then rerun."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"make {path.parent} writable, then rerun."
    return "make room, then rerun."


def sync(path: Path) -> None:
    """Make a file's content, or the renames in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line; a single write, so lines of two writers do not mix. Raises StorageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            line = (json.dumps(record) + "\n").encode()
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a torn line must not take this one with it
                    line = b"\n" + line
            if file.write(line) != len(line):  # a full disk takes a part, and says nothing
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error.strerror or error}.", _fix(path, error)) from None


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``; None where it is absent, torn or no object: nothing on disk is trusted."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def read_lines(path: Path, *, after_line: int = 0) -> list[dict[str, Any]]:
    """The JSON objects of an append-only file's lines after so many; a torn last line, or any other, is left out."""
    records = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[after_line:]
    except OSError:
        return []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records
