"""Writing so that a kill at any instant leaves the old file or the new one, never a part of one."""

from pathlib import Path

from megatron_lrps.errors import StorageError
from megatron_lrps.storage.files import sync


def publish(temporary: Path, final: Path) -> None:
    """Give a fully written file its name: fsync, rename, fsync of the folder.

    Raises:
        StorageError: The data or the rename did not reach the disk.
    """
    try:
        sync(temporary)
        temporary.replace(final)
        # The rename itself lives in the folder: without this a power cut can undo it.
        sync(final.parent)
    except OSError as error:
        raise write_failed(final, error) from error


def temporary_name(path: Path) -> Path:
    """The name that ``path`` has while it is written: hidden, and no ``.bin`` or ``.idx`` to Megatron."""
    return path.with_name(f".{path.name}.tmp")


def write_failed(path: Path, error: OSError) -> StorageError:
    """The error for a write to ``path`` that the system refused."""
    return StorageError(
        f"{path} could not be written: {error.strerror or error}.",
        "Free space or make the folder writable, then run the same command again.",
    )
