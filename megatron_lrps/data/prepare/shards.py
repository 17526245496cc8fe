"""Shards: the parts of a source that are encoded on their own, and can be done again on their own."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from megatron_lrps.data.prepare.find import SourceFile, TextSource
from megatron_lrps.data.prepare.sniff import encoding_of
from megatron_lrps.data.prepare.text_blocks import UTF8

SHARD_BYTES = 64 * 2**20
"""Of text, about: small enough that several workers share a file of some 100 MB. A packed file counts four times its
size, and a file that cannot be cut is one piece."""

_FORMAT = 2
"""Of what a shard leaves on disk, and of how its text is read."""
_UNPACKED = 4


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a file.

    Attributes:
        file: The file.
        start: The first byte; of parquet the first row group.
        end: The byte after the last, of parquet the row group; None for the file's end. A line belongs to the piece
            that its first byte is in.
        bytes: Of parquet, the first byte and the one after the last that its hash is of; None for the whole file's.
    """

    file: SourceFile
    start: int = 0
    end: int | None = None
    bytes: tuple[int, int] | None = None

    @property
    def raw(self) -> tuple[int, int]:
        """The first byte and the one after the last: those of all pieces of a file together are the file."""
        return self.bytes or (self.start, self.file.bytes if self.end is None else self.end)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Consecutive pieces of a source, numbered from 0."""

    number: int
    pieces: tuple[Piece, ...]
    bytes: int

    @property
    def name(self) -> str:
        """Beginning of its files' names."""
        return f"shard-{self.number:06d}"


def cut(source: TextSource, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """The shards of a source, in order; small files share one."""
    shards: list[Shard] = []
    pieces: list[Piece] = []
    size = 0
    for piece, weight in _pieces(source, shard_bytes):
        if pieces and size + weight > shard_bytes:
            shards.append(Shard(number=len(shards), pieces=tuple(pieces), bytes=size))
            pieces, size = [], 0
        pieces.append(piece)
        size += weight
    return [*shards, Shard(number=len(shards), pieces=tuple(pieces), bytes=size)]


def shard_key(shard: Shard, options: dict[str, Any]) -> str:
    """Identifies what a shard's ids are made from but for the content of its files; their names and times do not count.

    Args:
        shard: The shard.
        options: What its source says and the tokenizer (``made_from.options_of``).
    """
    made_from = {
        "format": _FORMAT,
        "pieces": [
            (piece.file.kind, piece.file.packing, piece.file.bytes, piece.start, piece.end) for piece in shard.pieces
        ],
        "options": options,
    }
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def _pieces(source: TextSource, shard_bytes: int) -> Iterator[tuple[Piece, int]]:
    for file in source.files:
        lines = file.kind == "jsonl" or (file.kind == "text" and source.documents == "line")
        if file.kind == "parquet":
            yield from _row_groups(file, shard_bytes)
        elif file.packing or not lines or file.bytes <= shard_bytes or encoding_of(file) != UTF8:
            yield Piece(file=file), file.bytes * (_UNPACKED if file.packing else 1)
        else:
            count = -(-file.bytes // shard_bytes)
            for number in range(count):
                start, end = file.bytes * number // count, file.bytes * (number + 1) // count
                yield Piece(file=file, start=start, end=end), end - start


def _row_groups(file: SourceFile, shard_bytes: int) -> Iterator[tuple[Piece, int]]:
    from megatron_lrps.data.prepare.tables import row_groups

    groups = row_groups(file)
    start = first = size = 0
    for group, (place, more) in enumerate(groups):
        begin = max(first, place)
        if group > start and size + more > shard_bytes:
            yield Piece(file=file, start=start, end=group, bytes=(first, begin)), size
            start, first, size = group, begin, 0
        size += more
    yield Piece(file=file, start=start, end=len(groups), bytes=(first, file.bytes)), size
