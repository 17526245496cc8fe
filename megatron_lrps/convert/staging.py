"""A folder that appears whole or not at all."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.storage.files import sync


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``target`` that takes its name when the block ends without an error.

    The remains of a killed process are removed first. Two processes cannot write the same target.

    Raises:
        RefusedError: ``target`` exists, or another process is writing it.
        StorageError: the disk fails.
    """
    if target.is_symlink() or target.exists():
        raise RefusedError(f"{target} exists already.", "move it away, or give another --output.")
    hidden = target.with_name(f".{target.name}.partial")
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise StorageError(f"{hidden} could not be created: {error.strerror}.", "fix that, then rerun.") from None
    try:
        try:
            # The kernel gives it back when the process ends, however that happens.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RefusedError(f"Another process is writing {target}.", "wait for that process, or end it.") from None
        _empty(hidden)
        try:
            yield hidden
            for folder, _, _ in os.walk(hidden, topdown=False):
                sync(Path(folder))
            hidden.rename(target)
            sync(target.parent)
        except BaseException as error:
            with contextlib.suppress(OSError):
                shutil.rmtree(hidden)
            if isinstance(error, OSError):
                what = f"{error.filename or target} could not be written: {error.strerror or error}."
                raise StorageError(what, "make room, then rerun.") from None
            raise
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def refuse_full_disk(target: Path, needed: int) -> None:
    """Refuse, before anything is written, a disk without room for that many bytes; raises StorageError."""
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise StorageError(
            f"{target} needs {needed / 2**30:.2f} GiB, but only {free / 2**30:.2f} GiB are free.",
            "make room, then rerun.",
        )
