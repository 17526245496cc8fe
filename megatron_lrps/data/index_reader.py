"""Counts the documents and tokens of a Megatron ``.bin``/``.idx`` pair without Megatron.

Only the standard library is imported. The layout is that of ``_IndexWriter`` and ``_IndexReader`` in
``megatron/core/datasets/indexed_dataset.py`` (megatron-core 0.19.2):

====== ================= ==================================================================
offset bytes             content
====== ================= ==================================================================
0      9                 the magic ``MMIDIDX`` and two zero bytes
9      8                 version, little-endian: 1
17     1                 dtype code of the tokens in the ``.bin``
18     8                 number of sequences S, little-endian
26     8                 number of document indices D (documents + 1), little-endian
34     4 S               tokens of each sequence, int32
+4 S   8 S               byte offset of each sequence in the ``.bin``, int64
+12 S  8 D               first sequence of each document, then S, int64
...    S, or 0           mode of each sequence, int8 (multimodal data only)
====== ================= ==================================================================

The arrays have the byte order of the machine that wrote them (numpy's ``tobytes``). Megatron expects that.
"""

import mmap
import struct
from array import array
from pathlib import Path
from typing import NamedTuple

from megatron_lrps.errors import RefusedError

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")
TOKEN_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}
"""Bytes of a token by dtype code (``DType``: uint8, int8, int16, int32, int64, float64, float32, uint16)."""

_CHUNK_SEQUENCES = 1 << 20
"""Sequence lengths summed at a time, so that an index of gigabytes needs 4 MiB of memory."""


class IndexFacts(NamedTuple):
    """The counts of a ``.bin``/``.idx`` pair. Tokens include the EOD of each document."""

    documents: int
    tokens: int


def index_facts(prefix: Path | str) -> IndexFacts:
    """Count the documents and tokens of ``prefix.bin``, ``prefix.idx``.

    Raises:
        RefusedError: A file is missing, the ``.idx`` is torn or not an index, or the ``.bin`` has another size than the
            ``.idx`` says.
    """
    idx, data = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    try:
        bin_bytes = data.stat().st_size
        with idx.open("rb") as stream:
            header = stream.read(HEADER.size)
            idx_bytes = stream.seek(0, 2)
            sequences, indices, token_bytes = _read_header(idx, header)
            _check_idx_size(idx, idx_bytes, sequences, indices)
            tokens = _sum_lengths(stream.fileno(), sequences)
    except OSError as error:
        raise _unreadable(idx, error) from error
    if tokens * token_bytes != bin_bytes:
        raise RefusedError(
            f"{data} has {bin_bytes} bytes, but {idx.name} says {tokens} tokens of {token_bytes} bytes, "
            f"{tokens * token_bytes} bytes.",
            "Copy or prepare both again: they were not written together, or the copy is not complete.",
        )
    return IndexFacts(documents=indices - 1, tokens=tokens)


def token_count(prefix: Path | str) -> int:
    """Return the tokens of ``prefix.bin`` from its size, which takes one small read for any number of documents.

    Raises:
        RefusedError: A file is missing, or the ``.idx`` is not an index.
    """
    idx = Path(f"{prefix}.idx")
    try:
        with idx.open("rb") as stream:
            _, _, token_bytes = _read_header(idx, stream.read(HEADER.size))
        return Path(f"{prefix}.bin").stat().st_size // token_bytes
    except OSError as error:
        raise _unreadable(idx, error) from error


def _unreadable(idx: Path, error: OSError) -> RefusedError:
    return RefusedError(
        f"{error.filename or idx} cannot be read: {error.strerror or error}.",
        "Correct the path in the plan (a prefix, without .bin or .idx), or prepare the data again.",
    )


def _read_header(idx: Path, header: bytes) -> tuple[int, int, int]:
    """Return the sequences, document indices and bytes per token in a header."""
    if len(header) == HEADER.size:
        magic, version, code, sequences, indices = HEADER.unpack(header)
        if magic == MAGIC and version == VERSION and code in TOKEN_BYTES and indices > 0:
            return sequences, indices, TOKEN_BYTES[code]
    raise RefusedError(
        f"{idx} is not a Megatron index: it begins with {header[:9]!r}, not with {MAGIC!r} and a header of version "
        f"{VERSION}.",
        "Name the prefix of a .bin/.idx pair, or prepare the data again.",
    )


def _check_idx_size(idx: Path, size: int, sequences: int, indices: int) -> None:
    expected = HEADER.size + 12 * sequences + 8 * indices
    if size not in (expected, expected + sequences):
        raise RefusedError(
            f"{idx} has {size} bytes, but its header says {sequences} sequences and {indices - 1} documents, "
            f"{expected} bytes.",
            "Copy or prepare the data again, because the copy is not complete.",
        )


def _sum_lengths(descriptor: int, sequences: int) -> int:
    total = 0
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as view:
        for first in range(0, sequences, _CHUNK_SEQUENCES):
            count = min(_CHUNK_SEQUENCES, sequences - first)
            begin = HEADER.size + 4 * first
            lengths = array("i")
            lengths.frombytes(view[begin : begin + 4 * count])
            total += sum(lengths)
    return total
