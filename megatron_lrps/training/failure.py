"""A rank that fails by itself leaves its reason in a file, since its launcher only sees that other ranks are killed."""

import contextlib
import os

import torch

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
    with contextlib.suppress(OSError):  # another was first, or the disk is what failed
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(descriptor, line.encode(errors="replace"))
        finally:
            os.close(descriptor)


def _others(error: BaseException) -> bool:
    """Whether the cause is a lost rank, link or GPU: then another start may succeed."""
    while True:
        if isinstance(error, torch.distributed.DistError):
            return True
        if isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in _LOST):
            return True
        cause = error.__cause__ or error.__context__
        if cause is None:
            return False
        error = cause
