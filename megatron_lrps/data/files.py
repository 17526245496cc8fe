"""Writing so that a kill at any instant leaves the old file or the new one, never a part of one."""

import os
from pathlib import Path

from megatron_lrps.errors import StorageError


def publish(temporary: Path, final: Path) -> None:
    """Give a fully written file its name: fsync, rename, fsync of the folder.

    Raises:
        StorageError: The data or the rename did not reach the disk.
    """
    try:
        _fsync(temporary)
        temporary.replace(final)
        # The rename itself lives in the folder: without this a power cut can undo it.
        _fsync(final.parent)
    except OSError as error:
        raise write_failed(final, error) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name, then ``publish`` it as ``path``.

    Raises:
        StorageError: The content did not reach the disk; what ``path`` held before is intact.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
    except OSError as error:
        raise write_failed(path, error) from error
    publish(temporary, path)


def temporary_name(path: Path) -> Path:
    """The name that ``path`` has while it is written: hidden, and no ``.bin`` or ``.idx`` to Megatron."""
    return path.with_name(f".{path.name}.tmp")


def write_failed(path: Path, error: OSError) -> StorageError:
    """The error for a write to ``path`` that the system refused."""
    return StorageError(
        f"{path} could not be written: {error.strerror or error}.",
        "Free space or make the folder writable, then run the same command again.",
    )


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
