"""Shards: the parts into which a source is cut. Each is encoded, and if need be encoded again, on its own."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from megatron_lrps.data.prepare.find import SourceFile, TextSource
from megatron_lrps.data.prepare.sniff import encoding_of
from megatron_lrps.data.prepare.text_blocks import UTF8

SHARD_BYTES = 64 * 2**20
"""Text in a shard, about: small enough that several workers share a file of some 100 MB. A packed file counts four
times its size, and a file that cannot be cut is one range."""

_FORMAT = 2
"""Version of a shard's files on disk, and of how its text is read."""
_UNPACKED = 4


@dataclass(frozen=True, kw_only=True)
class FileSpan:
    """A range of a file.

    Attributes:
        file: The file.
        start: The first byte, or in a parquet file the first row group.
        end: The byte (or row group) after the last one; None for the end of the file. A line belongs to the range
            that holds its first byte.
        bytes: In a parquet file, the first hashed byte and the one after the last; None for other kinds.
    """

    file: SourceFile
    start: int = 0
    end: int | None = None
    bytes: tuple[int, int] | None = None

    @property
    def raw(self) -> tuple[int, int]:
        """The first byte and the one after the last. The ranges of a file cover the whole file."""
        return self.bytes or (self.start, self.file.bytes if self.end is None else self.end)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Consecutive ranges of a source's files. Shards are numbered from 0."""

    number: int
    spans: tuple[FileSpan, ...]
    bytes: int

    @property
    def name(self) -> str:
        """The prefix of its files' names."""
        return f"shard-{self.number:06d}"


def cut(source: TextSource, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Cut a source into shards, in order; small files share one."""
    shards: list[Shard] = []
    spans: list[FileSpan] = []
    size = 0
    for span, weight in _spans(source, shard_bytes):
        if spans and size + weight > shard_bytes:
            shards.append(Shard(number=len(shards), spans=tuple(spans), bytes=size))
            spans, size = [], 0
        spans.append(span)
        size += weight
    return [*shards, Shard(number=len(shards), spans=tuple(spans), bytes=size)]


def shard_key(shard: Shard, options: dict[str, Any]) -> str:
    """Return a key of what a shard's ids are made from, without the content, names and times of its files.

    Args:
        shard: The shard.
        options: The settings of its source and tokenizer (``made_from.options_of``).
    """
    made_from = {
        "format": _FORMAT,
        "pieces": [(span.file.kind, span.file.packing, span.file.bytes, span.start, span.end) for span in shard.spans],
        "options": options,
    }
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def _spans(source: TextSource, shard_bytes: int) -> Iterator[tuple[FileSpan, int]]:
    for file in source.files:
        lines = file.kind == "jsonl" or (file.kind == "text" and source.documents == "line")
        if file.kind == "parquet":
            yield from _row_groups(file, shard_bytes)
        elif file.packing or not lines or file.bytes <= shard_bytes or encoding_of(file) != UTF8:
            yield FileSpan(file=file), file.bytes * (_UNPACKED if file.packing else 1)
        else:
            count = -(-file.bytes // shard_bytes)
            for number in range(count):
                start, end = file.bytes * number // count, file.bytes * (number + 1) // count
                yield FileSpan(file=file, start=start, end=end), end - start


def _row_groups(file: SourceFile, shard_bytes: int) -> Iterator[tuple[FileSpan, int]]:
    from megatron_lrps.data.prepare.tables import row_groups

    groups = row_groups(file)
    start = first = size = 0
    for group, (place, more) in enumerate(groups):
        begin = max(first, place)
        if group > start and size + more > shard_bytes:
            yield FileSpan(file=file, start=start, end=group, bytes=(first, begin)), size
            start, first, size = group, begin, 0
        size += more
    yield FileSpan(file=file, start=start, end=len(groups), bytes=(first, file.bytes)), size
