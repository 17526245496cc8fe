"""A chunk of a tensor in a ``.distcp`` file.

Only torch's own header is loaded, weights-only. The header says where in the file the values lie."""

import contextlib
import errno
import io
import mmap
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from megatron_lrps.errors import LrpsError, RefusedError, StorageError


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A block of a tensor in a file.

    Attributes:
        offsets: The index in the tensor at which the chunk begins.
        sizes: The shape of the chunk, with as many dimensions as the tensor has.
        file: The name of the file in the checkpoint's folder.
        begin: The byte at which ``torch.save`` wrote the chunk.
        length: The number of bytes that it wrote.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    begin: int
    length: int


class View(io.RawIOBase):
    """A range of a file that reads like a file of its own."""

    def __init__(self, file: io.BufferedReader, begin: int, length: int) -> None:
        self._file, self._begin, self._length, self._at = file, begin, length, 0

    def readable(self) -> bool:
        """See ``io.RawIOBase``."""
        return True

    def seekable(self) -> bool:
        """See ``io.RawIOBase``."""
        return True

    def tell(self) -> int:
        """See ``io.RawIOBase``."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See ``io.RawIOBase``."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """See ``io.RawIOBase``."""
        self._file.seek(self._begin + self._at)
        wanted = max(0, min(len(buffer), self._length - self._at))
        got = self._file.readinto(memoryview(buffer)[:wanted]) if wanted else 0
        self._at += got
        return got


@contextlib.contextmanager
def reading(path: Path, where: str) -> Iterator[None]:
    """Name the file of a failed read: StorageError if the disk fails, else RefusedError, as the file is damaged."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.", "check the disk.") from None
    except LrpsError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RefusedError(f"{path} is damaged at {where}: {reason}.", "restore it from a copy.") from None


def place(folder: Path, chunk: Chunk, dtype: torch.dtype) -> int | Tensor:
    """Return the byte at which a chunk's values begin in its file, or the values if they do not lie row by row."""
    path = folder / chunk.file
    with reading(path, f"byte {chunk.begin}"), path.open("rb") as file:
        view = cast("IO[bytes]", View(file, chunk.begin, chunk.length))
        header = torch.load(view, map_location="meta", weights_only=True)
        good = isinstance(header, Tensor) and tuple(header.shape) == chunk.sizes and header.dtype == dtype
        if good and not header.is_contiguous():
            view.seek(0)
            whole: Tensor = torch.load(view, map_location="cpu", weights_only=True)
            return whole
    if not good:
        found = f"{tuple(header.shape)} {header.dtype}" if isinstance(header, Tensor) else type(header).__name__
        raise RefusedError(
            f"{path} holds {found} at byte {chunk.begin}, but {chunk.sizes} {dtype} belongs there.",
            "restore it from a copy.",
        )
    inside: int = header.untyped_storage()._checkpoint_offset + header.storage_offset() * header.itemsize
    if inside < 0 or inside + header.numel() * header.itemsize > chunk.length:
        raise RefusedError(f"{path} is torn at byte {chunk.begin}.", "restore it from a copy.")
    return chunk.begin + inside


def read_into(path: Path, position: int, target: Tensor) -> None:
    """Fill a contiguous tensor with a file's bytes from ``position`` on; raises RefusedError and StorageError."""
    buffer = memoryview(target.view(-1).view(torch.uint8).numpy())
    with reading(path, f"byte {position}"), path.open("rb", buffering=0) as file:
        done = 0
        while done < len(buffer):
            got = os.preadv(file.fileno(), [buffer[done:]], position + done)
            if not got:
                raise RefusedError(f"{path} ends at byte {position + done}.", "restore it from a copy.")
            done += got


class _Aligned(threading.local):
    """A thread's memory for reads past the page cache: it begins at a page."""

    def __init__(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.memory = memoryview(mmap.mmap(-1, 2 * 2**20 + _SECTOR, flags=flags))
        self.tensor = torch.frombuffer(self.memory, dtype=torch.uint8)


_SECTOR = 4096
"""The bytes of which a disk's position, a size and the memory must be multiples."""
_ALIGNED = _Aligned()


def read_past_cache(path: Path, position: int, target: Tensor) -> None:
    """Do what ``read_into`` does, but past the page cache; a file system that cannot do so is read as always.

    It takes a fifth of the processor's time, and what others have in the cache stays there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:  # or the file cannot be read at all, which the other way names
        done = 0
    else:
        with os.fdopen(descriptor, "rb", buffering=0), reading(path, f"byte {position}"):
            done = _read_sectors(descriptor, position, target.view(-1).view(torch.uint8))
    if done < target.nbytes:
        read_into(path, position + done, target.view(-1).view(torch.uint8)[done:])


def _read_sectors(descriptor: int, position: int, target: Tensor) -> int:
    """Return how many bytes could be read: fewer at the file's end, and where the file system wants it otherwise."""
    done = 0
    while done < len(target):
        skipped = (position + done) % _SECTOR
        wanted = -(-(skipped + len(target) - done) // _SECTOR) * _SECTOR
        try:
            got = os.preadv(descriptor, [_ALIGNED.memory[:wanted]], position + done - skipped) - skipped
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break
        if got <= 0:
            break
        part = _ALIGNED.tensor[skipped : skipped + min(got, len(target) - done)]
        target[done : done + len(part)].copy_(part)
        done += len(part)
    return done
