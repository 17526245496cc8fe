"""Writes Megatron's ``.bin`` and ``.idx``, byte for byte as Megatron's own builder does; see ``index_reader``."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from megatron_lrps.data.index_reader import HEADER, MAGIC, VERSION
from megatron_lrps.storage.files import replacing

_CODES = {"uint16": 8, "int32": 4}

Lengths = Callable[[], Iterable[NDArray[np.int32]]]
"""The tokens of each document, EOD included, in arrays of any size. It is called several times."""


@dataclass(frozen=True, kw_only=True)
class WrittenIndex:
    """The sha256 of both files."""

    bin_sha256: str
    idx_sha256: str


def write_index(prefix: Path, tokens: Iterable[bytes], lengths: Lengths, dtype: np.dtype[Any]) -> WrittenIndex:
    """Write ``prefix.bin`` and ``prefix.idx``, so that a torn pair never looks whole.

    Args:
        prefix: Path of both files without ``.bin`` and ``.idx``.
        tokens: The content of the ``.bin``, in blocks of any size.
        lengths: The tokens of each document; a document with 0 has no sequence in the index.
        dtype: The tokens' type, uint16 or int32.

    Raises:
        StorageError: A file could not be written. The earlier pair is intact, or has no ``.idx``.
    """
    data, idx = Path(f"{prefix}.bin"), Path(f"{prefix}.idx")
    with replacing(data, idx) as (new_data, new_idx):
        with _Hashed(new_data) as out:
            for block in tokens:
                out.write(block)
        with _Hashed(new_idx) as index:
            _write_layout(index, lengths, dtype)
        # The old index goes before the data gets its name: a kill between the two would else leave a pair that looks
        # whole and is not.
        idx.unlink(missing_ok=True)
    return WrittenIndex(bin_sha256=out.sha256, idx_sha256=index.sha256)


class _Hashed:
    """A new file that is hashed on a second thread while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self._pending: Future[None] | None = None

    def __enter__(self) -> "_Hashed":
        self._stream: IO[bytes] = self._path.open("wb")
        self._thread = ThreadPoolExecutor(1)
        return self

    def write(self, content: bytes) -> None:
        """Append ``content``, which must not change afterwards."""
        if self._pending is not None:
            self._pending.result()
        self._pending = self._thread.submit(self._hash.update, content)
        self._stream.write(content)

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._stream.close()

    @property
    def sha256(self) -> str:
        """The hash of everything written."""
        return self._hash.hexdigest()


def _write_layout(out: _Hashed, lengths: Lengths, dtype: np.dtype[Any]) -> None:
    documents = sum(map(len, lengths()))
    sequences = sum(int(np.count_nonzero(array)) for array in lengths())
    out.write(HEADER.pack(MAGIC, VERSION, _CODES[dtype.name], sequences, documents + 1))
    for array in lengths():
        out.write(array[array > 0].tobytes())
    _write_sums(out, (array[array > 0].astype(np.int64) * dtype.itemsize for array in lengths()), inclusive=False)
    out.write(np.int64(0).tobytes())
    # A document without tokens has no sequence: it ends where it begins.
    _write_sums(out, ((array > 0).astype(np.int64) for array in lengths()), inclusive=True)


def _write_sums(out: _Hashed, arrays: Iterable[NDArray[np.int64]], *, inclusive: bool) -> None:
    """Write the running sum (int64), with or without the entry itself."""
    total = 0
    for values in arrays:
        sums = total + np.cumsum(values)
        if len(values):
            out.write((sums if inclusive else sums - values).tobytes())
            total = int(sums[-1])
