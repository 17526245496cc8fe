"""Writing files that a crash or a kill cannot tear: the old file or the new one remains, never a part."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from megatron_lrps.errors import StorageError


def write_atomic(path: Path, content: str | bytes, *, temporary: Path | None = None) -> None:
    """Replace ``path`` with ``content``; several processes may do so at once.

    Args:
        path: The file.
        content: Its new content.
        temporary: Where the content lies until it is whole, on the same file system, if one process alone writes the
            file; by default a new name beside it.

    Raises:
        StorageError: The write failed; the old file is intact.
    """
    # tempfile makes files that only their owner can read, but a team shares its campaigns.
    temporary = temporary or path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        publish(temporary, path)
    except OSError as error:
        raise write_failed(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(*finals: Path) -> Iterator[list[Path]]:
    """Yield a new path for each file; when the block ends, they get the files' names, one after the other.

    The new paths are hidden, and end neither in ``.bin`` nor in ``.idx``. They are the same for every call, so that
    the next call overwrites the leftovers of a kill. If the block fails, they are removed.

    Raises:
        StorageError: A write failed, in the block or after it; a file that did not get its name is as it was.
    """
    temporaries = [temporary_name(final) for final in finals]
    try:
        finals[0].parent.mkdir(parents=True, exist_ok=True)
        yield temporaries
        for temporary, final in zip(temporaries, finals, strict=True):
            publish(temporary, final)
    except OSError as error:
        raise write_failed(finals[0], error) from error
    finally:
        for temporary in temporaries:
            with contextlib.suppress(OSError):  # must not hide the original error
                temporary.unlink(missing_ok=True)


def try_lock(stream: IO[Any]) -> bool:
    """Lock an open file until it is closed; False if another process has locked it.

    The kernel frees the lock when this process ends, however it ends. A file system without locks (ENOLCK, ENOSYS)
    keeps no process out.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def publish(temporary: Path, final: Path) -> None:
    """Rename a finished file or folder to its final name, durably. Raises StorageError."""
    try:
        sync(temporary)
        temporary.replace(final)
        sync(final.parent)  # without this a power cut can undo the rename
    except OSError as error:
        raise write_failed(final, error) from error


def temporary_name(path: Path) -> Path:
    """Return the name of ``path`` while ``publish``'s caller writes it."""
    return path.with_name(f".{path.name}.tmp")


def write_failed(path: Path, error: OSError) -> StorageError:
    """Return the error for a write to ``path`` that the system refused."""
    return StorageError(f"{path} could not be written: {error.strerror or error}.", _fix(path, error))


def _fix(path: Path, error: OSError) -> str:
    """Return the fix for the error; a full disk is only one of the causes."""
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        blocking = (folder for folder in path.parents if folder.exists() and not folder.is_dir())
        if (found := next(blocking, None)) is not None:
            return f"Move {found} away, because it is not a folder, and run the command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Make {path.parent} writable, and run the command again."
    return "Free space on the disk, and run the command again."


def sync(path: Path) -> None:
    """Make a file's content, or the renames in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line with a single write, so that the lines of two writers do not mix. Raises StorageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            line = (json.dumps(record) + "\n").encode()
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the last line is torn: start a new one
                    line = b"\n" + line
            if file.write(line) != len(line):  # a full disk may write only a part, without an error
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
    except OSError as error:
        raise write_failed(path, error) from None


def read_json(path: Path) -> dict[str, Any] | None:
    """Read the JSON object in ``path``; None if the file is absent, torn, or holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def read_lines(path: Path, *, after_line: int = 0) -> list[dict[str, Any]]:
    """Read the JSON objects of an append-only file, one per line; torn lines are left out.

    Args:
        path: The file, which may be absent.
        after_line: The number of lines to skip at its beginning.
    """
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
