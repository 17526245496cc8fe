"""A snapshot for checkpoints written in the background.

On a GPU the move to the host is the snapshot. Here the tensors are on the host already, so ``.to("cpu")``
copies nothing: the writer process would share memory with the trainer, and write what later iterations
make of it.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

Bucket = tuple[Path, str, tuple[list[Any], list[tuple[Any, Tensor]]]]
"""One file of a checkpoint: path, key, and its (bytes, tensors), each with its description."""


def snapshot(write_buckets: list[Bucket], non_blocking: bool = True) -> list[Bucket]:
    """Copy the buckets' tensors; stands in for ``FileSystemWriterAsync.preload_tensors``."""
    return [
        (path, key, (data, [(item, tensor.clone()) for item, tensor in tensors]))
        for path, key, (data, tensors) in write_buckets
    ]
