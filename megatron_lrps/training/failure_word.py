"""The word of the first rank that fails by itself, since its launcher only sees that other ranks are killed."""

import contextlib
import os
from pathlib import Path

from megatron_lrps.errors import LrpsError

FILE = "LRPS_FAILURE"
"""The environment variable that names the file for this start of the ranks."""
_LOST = ("gloo/transport", "NCCL", "TCPStore", "Connection closed by peer", "Connection reset by peer", "CUDA error")


def leave_word(code: int, error: BaseException) -> None:
    """Write on one line how this rank failed, unless another rank has done so before."""
    file = os.environ.get(FILE)
    if not file or _others(error):
        return
    if isinstance(error, SystemExit) and isinstance(error.__cause__, LrpsError):
        error = error.__cause__  # a hook has said it, and ended the rank
    text = (str(error).splitlines() or [""])[0]
    line = f"{code} rank {os.environ.get('RANK', '0')}: {type(error).__name__}: {text}\n"
    # An error here: the disk failed.
    with contextlib.suppress(OSError), Path(file).open("a", encoding="utf-8", errors="replace") as word:
        if word.tell() == 0:
            word.write(line)


def _others(error: BaseException) -> bool:
    """Whether the cause is a lost rank, link or GPU: then another start may succeed."""
    import torch

    cause: BaseException | None = error
    while cause is not None:
        said = isinstance(cause, RuntimeError | OSError) and any(words in str(cause) for words in _LOST)
        if said or isinstance(cause, torch.distributed.DistError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
