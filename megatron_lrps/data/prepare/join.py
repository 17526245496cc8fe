"""The parts of all shards to one ``.bin`` and ``.idx``, byte for byte what Megatron's own builder writes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from megatron_lrps.data.index_reader import HEADER, MAGIC, VERSION
from megatron_lrps.storage.publish import publish, temporary_name, write_failed

_CODES = {"uint16": 8, "int32": 4}
_BLOCK = 8 * 2**20
_LENGTHS = 2**20


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The sha256 of both files."""

    bin_sha256: str
    idx_sha256: str


def join(prefix: Path, parts: Sequence[tuple[Path, Path]], dtype: np.dtype[Any]) -> Joined:
    """Write ``prefix.bin`` and ``prefix.idx``; the ``.bin`` gets its name first, the ``.idx`` last.

    Args:
        prefix: Path of both files without ``.bin`` and ``.idx``.
        parts: Per shard in order: the file of its tokens, and that of its documents' lengths (int32).
        dtype: Of the tokens.

    Raises:
        StorageError: A file could not be written; what was there before is intact, or has no ``.idx``.
    """
    data, idx = Path(f"{prefix}.bin"), Path(f"{prefix}.idx")
    temporary_data, temporary_idx = temporary_name(data), temporary_name(idx)
    lengths_files = [lengths for _, lengths in parts]
    try:
        with _Hashed(temporary_data) as out:
            for tokens, _ in parts:
                _copy(tokens, out)
        with _Hashed(temporary_idx) as index:
            _write_index(index, lengths_files, dtype)
        # First the old index goes: were it there beside the new data, a kill here would leave a pair that looks
        # whole and is not.
        idx.unlink(missing_ok=True)
        publish(temporary_data, data)
        publish(temporary_idx, idx)
    except OSError as error:
        raise write_failed(data, error) from error
    finally:
        with suppress(OSError):  # it must not hide the error that led here
            temporary_data.unlink(missing_ok=True)
            temporary_idx.unlink(missing_ok=True)
    return Joined(bin_sha256=out.sha256, idx_sha256=index.sha256)


class _Hashed:
    """A new file that is hashed on a second thread while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self._pending: Future[None] | None = None

    def __enter__(self) -> "_Hashed":
        self._stream: IO[bytes] = self._path.open("wb", buffering=0)
        self._thread = ThreadPoolExecutor(1)
        return self

    def write(self, content: bytes) -> None:
        """Append ``content``, which must not change afterwards."""
        if self._pending is not None:
            self._pending.result()
        self._pending = self._thread.submit(self._hash.update, content)
        rest = memoryview(content)
        while len(rest):
            rest = rest[self._stream.write(rest) :]

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._stream.close()

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()


def _copy(source: Path, out: _Hashed) -> None:
    with source.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            out.write(block)


def _write_index(out: _Hashed, files: Sequence[Path], dtype: np.dtype[Any]) -> None:
    documents = sum(file.stat().st_size for file in files) // 4
    sequences = sum(int(np.count_nonzero(lengths)) for lengths in _lengths(files))
    out.write(HEADER.pack(MAGIC, VERSION, _CODES[dtype.name], sequences, documents + 1))
    for lengths in _lengths(files):
        out.write(lengths[lengths > 0].tobytes())
    _running(out, files, lambda lengths: lengths[lengths > 0].astype(np.int64) * dtype.itemsize, inclusive=False)
    out.write(np.int64(0).tobytes())
    # A document without tokens has no sequence: it ends where it begins.
    _running(out, files, lambda lengths: (lengths > 0).astype(np.int64), inclusive=True)


def _running(
    out: _Hashed, files: Sequence[Path], of: Callable[[NDArray[np.int32]], NDArray[np.int64]], *, inclusive: bool
) -> None:
    """Write the running sum (int64), with or without the entry itself."""
    total = 0
    for lengths in _lengths(files):
        values = of(lengths)
        sums = np.cumsum(values)
        if len(values):
            out.write((total + (sums if inclusive else sums - values)).tobytes())
            total += int(sums[-1])


def _lengths(files: Sequence[Path]) -> Iterator[NDArray[np.int32]]:
    """The documents' lengths, a few MiB at a time, whatever their number."""
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(4 * _LENGTHS):
                yield np.frombuffer(block, np.int32)
