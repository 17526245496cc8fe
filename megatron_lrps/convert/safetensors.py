"""The safetensors format, written and read as a stream: 8 bytes of length, a JSON header, the values.

Format: https://github.com/huggingface/safetensors. The library itself wants every tensor of a file in memory.
"""

import json
import math
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from megatron_lrps.convert.row_blocks import bytes_of
from megatron_lrps.errors import RefusedError, StorageError

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""safetensors' names of what weights are saved in."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LONGEST_HEADER = 100_000_000


class Entry(NamedTuple):
    """A tensor to write: its name, shape and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Size of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


def header_of(entries: Sequence[Entry]) -> bytes:
    """What a file of these tensors, in this order, begins with."""
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


def write_file(path: Path, entries: Sequence[Entry], values: Iterable[Tensor]) -> None:
    """Write a file and make it durable.

    Args:
        path: The file, new.
        entries: Its tensors, in order.
        values: Their values in that order, a tensor in one or more pieces, each of its entry's dtype.

    Raises:
        StorageError: the disk refuses.
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
    """``os.write`` until all of it is written; raises OSError."""
    while block:
        block = block[os.write(descriptor, block) :]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A tensor of a file.

    Attributes:
        file: The file.
        begin: Byte in it at which the values begin.
        shape: Its shape.
        dtype: What the values are.
    """

    file: Path
    begin: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The rows from ``start`` to before ``stop``, all by default; raises StorageError."""
        stop = self.shape[0] if stop is None else stop
        values = torch.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        buffer, begin = bytes_of(values), self.begin + start * math.prod(self.shape[1:]) * self.dtype.itemsize
        try:
            with self.file.open("rb", buffering=0) as file:
                done = 0
                while done < len(buffer):
                    if not (got := os.preadv(file.fileno(), [buffer[done:]], begin + done)):
                        raise StorageError(f"{self.file} ends at byte {begin + done}.", "restore it from a copy.")
                    done += got
        except OSError as error:
            raise StorageError(f"{self.file} could not be read: {error.strerror}.", "check the disk.") from None
        return values


def read_folder(folder: Path) -> dict[str, Placed]:
    """The tensors of all ``*.safetensors`` files of a folder by name; raises RefusedError where one is damaged."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise RefusedError(f"{folder} holds no .safetensors file.", "name a Hugging Face folder with safetensors.")
    found: dict[str, Placed] = {}
    for file in files:
        for name, placed in _read_header(file).items():
            if name in found:
                raise RefusedError(f"{name} is in {found[name].file.name} and in {file.name}.", "keep one of them.")
            found[name] = placed
    return found


def _read_header(file: Path) -> dict[str, Placed]:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            first = stream.read(8)
            length = struct.unpack("<Q", first)[0] if len(first) == 8 else _LONGEST_HEADER + 1
            if length > min(_LONGEST_HEADER, size - 8):
                raise ValueError(f"{size} bytes do not hold its header")
            head = json.loads(stream.read(length))
        begin = 8 + length
        return {name: _placed(file, begin, size, name, entry) for name, entry in head.items() if name != "__metadata__"}
    except OSError as error:
        raise RefusedError(f"{file} cannot be read: {error.strerror}.", "fix that.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError(f"{file} is no whole safetensors file: {error}.", "fetch it again.") from None


def _placed(file: Path, begin: int, size: int, name: str, entry: Mapping[str, Any]) -> Placed:
    dtype, shape = DTYPES.get(entry["dtype"]), tuple(entry["shape"])
    start, stop = entry["data_offsets"]
    if dtype is None:
        raise ValueError(f"{name} is {entry['dtype']}, and {', '.join(DTYPES)} can be read")
    if not 0 <= start <= stop <= size - begin or stop - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{size} bytes do not hold {name}")
    return Placed(file=file, begin=begin + start, shape=shape, dtype=dtype)
