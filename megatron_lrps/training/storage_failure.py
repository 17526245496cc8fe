"""Whether the storage is behind an error that ended a run, and what it leaves to go on from.

Writers in other threads and processes hand over a text in place of their error, and torch's archive writer hides a full
disk behind a wrong position in its file. So the folder is asked too: a small file is written into it.
"""

import contextlib
import errno
import os
import secrets
import shutil
import traceback
from pathlib import Path

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.errors import StorageError
from megatron_lrps.storage.disk_space import file_system, size_words
from megatron_lrps.training.saves_on_disk import size_on_disk

ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.EFBIG)
UNTOLD = 0
"""Stands for the number of an error of which nothing but its class has come through."""
_UNTOLD_BY_MEGATRON = "<class 'OSError'>"
_SAVING = ("dist_checkpointing", "torch.distributed.checkpoint")
_PROBE_BYTES = 1 << 20
_FIXES = {
    errno.ENOSPC: "make room (lrps gc shows what can go)",
    errno.EDQUOT: "make room (lrps gc shows what can go), or have the quota raised",
    errno.EFBIG: "have the limit on a file's size raised (ulimit -f)",
    errno.EROFS: "make the file system writable",
}


def storage_error(error: BaseException, own: Path | None) -> StorageError | None:
    """Return the storage's error behind an error; None if the storage is not at fault.

    Args:
        error: The error that ended the run, on this rank.
        own: The path's ``--save`` folder; None before the rank knows it.
    """
    behind = _error_behind(error)
    code = behind.errno if behind is not None else None
    text = "".join(traceback.format_exception(error))
    if code is None:
        code = next((each for each in ERRNOS if os.strerror(each) in text), None)
    if code is None and own is not None and any(name in text for name in _SAVING):
        code = failing(own) or (UNTOLD if _UNTOLD_BY_MEGATRON in text else None)
    if code is None:
        return None
    return failure(own, code) if own is not None else _failed_start(behind, code)


def of_another_rank(error: BaseException) -> bool:
    """Whether an error says no more than that some other rank could not save: that rank knows why."""
    return getattr(error, "failures", None) == {}


def failing(own: Path) -> int | None:
    """Return the error number with which a folder refuses a small file or has no room for a save; None if it is fit."""
    probe = own / f".lrps-probe.{secrets.token_hex(8)}.tmp"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in (*ERRNOS, errno.ENOENT, errno.EACCES) else None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    wanted, free = _wanted(own), _free(own)
    return errno.ENOSPC if wanted is not None and free is not None and free < wanted else None


def failure(own: Path, code: int) -> StorageError:
    """Return the error in words: the file system, what a save wants, what is free, and which checkpoint is whole."""
    wanted = _wanted(own)
    why = os.strerror(code) if code != UNTOLD else "Megatron's writer has put the reason into the log, further up"
    what = f"A write to {own} failed: {why}. {_disk_of(own)}"
    what += f"; a save takes about {size_words(wanted)}." if wanted is not None else "."
    whole = _whole(own)
    what += f" The checkpoint of iteration {whole} is whole." if whole else " No checkpoint of this path is whole."
    return StorageError(what, _fix(code))


def _failed_start(error: OSError | None, code: int) -> StorageError:
    """Return the error of a rank that does not know its path yet: most often it could not write into its log."""
    place = Path()
    with contextlib.suppress(OSError):
        if error is not None:
            place = Path(error.filename) if isinstance(error.filename, str) else Path("/proc/self/fd/2").readlink()
    if not place.is_absolute():  # a pipe, or what only C code knows
        return StorageError(f"A write failed before training began: {os.strerror(code)}.", _fix(code))
    what = f"A write to {place} failed before training began: {os.strerror(code)}. {_disk_of(place)}."
    return StorageError(what, _fix(code))


def _disk_of(place: Path) -> str:
    free = _free(place)
    answer = "which does not answer" if free is None else f"where {size_words(free)} are free"
    return f"It is on {file_system(place)}, {answer}"


def _fix(code: int) -> str:
    return f"{_FIXES.get(code, 'have the file system repaired')}, then run the same command."


def _error_behind(error: BaseException) -> OSError | None:
    seen: list[BaseException] = []
    pending = [error]
    while pending:
        if (each := pending.pop()) in seen:
            continue
        seen.append(each)
        if isinstance(each, OSError) and each.errno in ERRNOS:
            return each
        failures = getattr(each, "failures", None)  # torch's CheckpointException: rank -> (error, trace)
        if isinstance(failures, dict):
            pending += [value[0] for value in failures.values() if isinstance(value, tuple)]
        pending += [chained for chained in (each.__cause__, each.__context__) if chained is not None]
    return None


def _saved(own: Path) -> Checkpoints | None:
    try:
        return Checkpoints.in_folder(own)
    except OSError:
        return None


def _whole(own: Path) -> int | None:
    saved = _saved(own)
    iterations = reversed(saved.complete) if saved else ()
    return next((iteration for iteration in iterations if Checkpoint(own, iteration).is_whole), None)


def _wanted(own: Path) -> int | None:
    """Return the bytes of the newest finished checkpoint, or of one that was cut off; None if there is neither."""
    if (saved := _saved(own)) is None:
        return None
    for iteration in (saved.complete or saved.torn)[-1:]:
        with contextlib.suppress(OSError):
            return size_on_disk(saved.at(iteration))
    return None


def _free(own: Path) -> int | None:
    try:
        return shutil.disk_usage(own).free
    except OSError:
        return None
