"""Safetensors files, read and written without ever holding a whole one in memory.

The safetensors library cannot write a file whose values are not all in memory at once, and it reads by mapping files
into memory, so both are our own: 8 bytes of length, a JSON header, the values
(https://github.com/huggingface/safetensors).
"""

import json
import math
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from megatron_lrps.convert.chunks import read_into
from megatron_lrps.convert.row_blocks import bytes_of
from megatron_lrps.errors import StorageError

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The safetensors names of the dtypes that weights are saved in."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's name as config.json has it, such as ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


class TensorEntry(NamedTuple):
    """A tensor to write: its name, shape and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """The bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


def header_of(entries: Sequence[TensorEntry]) -> bytes:
    """Return the first bytes of a file of these tensors, in this order."""
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for entry in entries:
        head[entry.name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [at, at + entry.bytes],
        }
        at += entry.bytes
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # values begin aligned
    return struct.pack("<Q", len(text)) + text


def write_file(path: Path, entries: Sequence[TensorEntry], values: Iterable[Tensor]) -> None:
    """Write a file and make it durable.

    Args:
        path: The file, new.
        entries: The file's tensors, in order.
        values: Their values in that order, a tensor in one or more pieces, each of its entry's dtype.

    Raises:
        StorageError: the disk fails.
    """
    expected = sum(entry.bytes for entry in entries)
    try:
        with path.open("xb", buffering=0) as file:
            write_all(file.fileno(), memoryview(header_of(entries)))
            for piece in values:
                block = bytes_of(piece)
                write_all(file.fileno(), block)
                expected -= len(block)
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}.", "make room, then rerun."
        ) from None
    assert expected == 0, f"{path}: {expected} bytes are missing"


def write_all(descriptor: int, block: memoryview) -> None:
    """Call ``os.write`` until everything is written; raises OSError."""
    while block:
        block = block[os.write(descriptor, block) :]


class StoredTensor(Protocol):
    """A tensor in a file, or one that is computed of some as it is read.

    Attributes:
        file: The file.
        name: The tensor's name.
        shape: The tensor's shape.
        dtype: The dtype of the values.
    """

    @property
    def file(self) -> Path: ...  # noqa: D102

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return the rows from ``start`` to before ``stop``, all by default; raises StorageError and RefusedError."""
        ...


@dataclass(frozen=True, kw_only=True)
class FileTensor:
    """A tensor in a safetensors file.

    Attributes:
        file: The file.
        name: The tensor's name in the file.
        shape: The tensor's shape.
        dtype: The dtype of the values.
        begin: The byte of the file at which the values begin.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    begin: int

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return the rows from ``start`` to before ``stop``, all by default; raises StorageError and RefusedError.

        The file is opened for each read, and nothing is mapped into memory: mapped pages would count as this process's
        memory, and a disk that fails would end it with SIGBUS.
        """
        count = self.shape[0] if self.shape else 1
        stop = count if stop is None else stop
        rows = torch.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        if rows.numel():
            read_into(self.file, self.begin + start * rows[0].numel() * self.dtype.itemsize, rows)
        return rows
