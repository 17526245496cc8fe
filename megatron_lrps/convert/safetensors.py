"""Safetensors files, read and written without ever holding a whole one in memory.

The safetensors library reads, a slice at a time. It cannot write a file whose values are not all in memory at once, so
the writer here is our own: 8 bytes of length, a JSON header, the values (https://github.com/huggingface/safetensors).
"""

import json
import math
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from megatron_lrps.convert.row_blocks import bytes_of
from megatron_lrps.errors import RefusedError, StorageError

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The safetensors names of the dtypes that weights are saved in."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


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


@dataclass(frozen=True, kw_only=True)
class FileTensor:
    """A tensor in a safetensors file.

    Attributes:
        file: The file.
        name: The tensor's name in the file.
        shape: The tensor's shape.
        dtype: The dtype of the values.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return the rows from ``start`` to before ``stop``, all by default; raises StorageError.

        The file is opened for each read. The library maps it into memory, and the pages that were read would count as
        this process's memory for as long as it stays open. A disk that fails meanwhile ends the process with SIGBUS.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.file, framework="pt") as opened:
                rows: Tensor = opened.get_slice(self.name)[start:stop]
        except (OSError, SafetensorError) as error:
            raise StorageError(f"{self.file} could not be read: {error}.", "check the disk.") from None
        return rows


def read_folder(folder: Path) -> dict[str, FileTensor]:
    """Return the tensors of all ``*.safetensors`` files of a folder by name; raises RefusedError if one is damaged."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise RefusedError(
            f"{folder} holds no .safetensors file.", "give a Hugging Face folder with safetensors files."
        )
    found: dict[str, FileTensor] = {}
    for file in files:
        for tensor in _tensors(file):
            if tensor.name in found:
                raise RefusedError(
                    f"{tensor.name} is in {found[tensor.name].file.name} and in {file.name}.", "keep only one of them."
                )
            found[tensor.name] = tensor
    return found


def _tensors(file: Path) -> list[FileTensor]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise RefusedError("safetensors is not installed.", "pip install 'megatron-lrps[hf]'.") from None
    try:
        with safe_open(file, framework="pt") as opened:
            names = opened.keys()
            slices = {name: opened.get_slice(name) for name in names}
            kinds = {name: (tuple(each.get_shape()), each.get_dtype()) for name, each in slices.items()}
    except OSError as error:
        raise RefusedError(f"{file} cannot be read: {error}.", "check the file and its permissions.") from None
    except SafetensorError as error:
        raise RefusedError(f"{file} is no whole safetensors file: {error}.", "download it again.") from None
    for name, (_, kind) in kinds.items():
        if kind not in DTYPES:
            raise RefusedError(
                f"{file}: {name} is saved as {kind}, and only {', '.join(DTYPES)} can be read.", "import another model."
            )
    return [FileTensor(file=file, name=name, shape=shape, dtype=DTYPES[kind]) for name, (shape, kind) in kinds.items()]
