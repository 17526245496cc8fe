"""Shards: the parts of a source that are encoded on their own, and can be done again on their own."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from megatron_lrps.data.prepare.encoders import TokenizerSpec
from megatron_lrps.data.prepare.find import SourceFile, TextSource

SHARD_BYTES = 64 * 2**20
"""Of text, about: small enough that several workers share a file of some 100 MB. A packed file counts four times its
size, and a file that cannot be cut is one piece."""

_FORMAT = 1
"""Of what a shard leaves on disk."""
_UNPACKED = 4


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a file.

    Attributes:
        file: The file.
        start: The first byte; of parquet the first row group.
        end: The byte after the last, of parquet the row group; None for the file's end. A line belongs to the piece
            that its first byte is in.
    """

    file: SourceFile
    start: int = 0
    end: int | None = None


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


def key_of(pieces: Iterable[Piece], source: TextSource, spec: TokenizerSpec, tokenizer: str) -> str:
    """Identifies what ids are made from: files as found, what a document is, and the tokenizer.

    Args:
        pieces: A shard's; or whole files, for an index, which is the same however it was cut into shards.
        source: Their source.
        spec: The tokenizer.
        tokenizer: Its model's fingerprint.
    """
    made_from = {
        "format": _FORMAT,
        "pieces": [
            (str(piece.file.path), piece.file.kind, piece.file.bytes, piece.file.mtime_ns, piece.start, piece.end)
            for piece in pieces
        ],
        "field": source.field,
        "documents": source.documents,
        "tokenizer": [tokenizer, spec.type, spec.vocab_size, spec.eod, spec.pattern, spec.num_special_tokens],
        "wrapping": [spec.special_tokens, spec.wrapped, hashlib.sha256(spec.backend.encode()).hexdigest()],
    }
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def _pieces(source: TextSource, shard_bytes: int) -> Iterator[tuple[Piece, int]]:
    for file in source.files:
        lines = file.kind == "jsonl" or (file.kind == "text" and source.documents == "line")
        if file.kind == "parquet":
            yield from _row_groups(file, shard_bytes)
        elif file.packing or not lines or file.bytes <= shard_bytes:
            yield Piece(file=file), file.bytes * (_UNPACKED if file.packing else 1)
        else:
            count = -(-file.bytes // shard_bytes)
            for number in range(count):
                start, end = file.bytes * number // count, file.bytes * (number + 1) // count
                yield Piece(file=file, start=start, end=end), end - start


def _row_groups(file: SourceFile, shard_bytes: int) -> Iterator[tuple[Piece, int]]:
    from megatron_lrps.data.prepare.tables import row_group_bytes

    sizes = row_group_bytes(file)
    start = size = 0
    for group, more in enumerate(sizes):
        if group > start and size + more > shard_bytes:
            yield Piece(file=file, start=start, end=group), size
            start, size = group, 0
        size += more
    if len(sizes) > start:
        yield Piece(file=file, start=start, end=len(sizes)), size
