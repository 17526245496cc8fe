"""The documents of a shard, one after the other; what cannot be read is counted and listed, never dropped."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from megatron_lrps.data.prepare.find import SourceFile, TextSource
from megatron_lrps.data.prepare.lines import LONGEST_DOCUMENT, lines, whole
from megatron_lrps.data.prepare.shards import Piece, Shard
from megatron_lrps.data.prepare.tables import rows
from megatron_lrps.errors import RefusedError

TOO_LONG = f"longer than {LONGEST_DOCUMENT // 2**20} MiB"
NOT_UTF8 = "not UTF-8"
MALFORMED = "malformed JSON"
NO_FIELD = "no such field"
NO_TEXT = "the field is no text"
SURROGATE = "a lone surrogate, which UTF-8 cannot write"


@dataclass
class Tally:
    """What was read of a shard.

    Attributes:
        report: Gets a JSON line for every unreadable document.
        bytes: Of the lines, rows and files that held the documents, unpacked.
        blank: Lines without anything in them; they are no documents.
        unreadable: Documents by reason.
        lines: Lines by number of the shard's piece.
    """

    report: IO[str]
    bytes: int = 0
    blank: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    lines: Counter[int] = field(default_factory=Counter)

    def bad(self, reason: str, file: SourceFile, **where: Any) -> None:
        """Count and list an unreadable document."""
        self.unreadable[reason] += 1
        self.report.write(json.dumps({"reason": reason, "file": str(file.path), **where}) + "\n")


def documents(shard: Shard, source: TextSource, tally: Tally) -> Iterator[str]:
    """The texts of a shard in order.

    Raises:
        RefusedError: A file is torn, has no such column, or is another than was found.
    """
    for number, piece in enumerate(shard.pieces):
        _same(piece.file)
        if piece.file.kind == "jsonl":
            yield from _json_lines(piece, source.field, tally, number)
        elif piece.file.kind == "text":
            yield from _plain_text(piece, source.documents, tally, number)
        else:
            yield from _rows(piece, source.field, tally)
        _same(piece.file)


def _same(file: SourceFile) -> None:
    try:
        facts = file.path.stat()
    except OSError as error:
        raise RefusedError(f"{file.path} cannot be read: {error.strerror}.", "put it back, then rerun.") from None
    if (facts.st_size, facts.st_mtime_ns) != (file.bytes, file.mtime_ns):
        raise RefusedError(f"{file.path} was changed while it was read.", "rerun when nothing writes it any more.")


def _json_lines(piece: Piece, name: str, tally: Tally, number: int) -> Iterator[str]:
    import orjson

    loads, malformed = orjson.loads, orjson.JSONDecodeError
    line_number = 0
    for offset, line in lines(piece):
        line_number += 1
        if line is None:
            tally.bad(TOO_LONG, piece.file, line=line_number, offset=offset)
            continue
        try:
            value = loads(line)
        except malformed:
            if not line.strip():
                tally.blank += 1
                continue
            value = _by_the_standard_library(line, name)
            if isinstance(value, _Bad):
                tally.bad(value.reason, piece.file, line=line_number, offset=offset)
                continue
        text = value.get(name) if isinstance(value, dict) else None
        # A str subclass cannot come from JSON, so this is exact, and a third faster than isinstance.
        if type(text) is str:
            tally.bytes += len(line)
            yield text
            continue
        reason = NO_TEXT if isinstance(value, dict) and name in value else NO_FIELD
        tally.bad(reason, piece.file, line=line_number, offset=offset)
    tally.lines[number] = line_number


@dataclass(frozen=True)
class _Bad:
    reason: str


def _by_the_standard_library(line: bytes, name: str) -> Any:
    """As Megatron's tool reads JSON: with NaN and integers of any length, which orjson refuses."""
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError:
        return _Bad(NOT_UTF8)
    except (ValueError, RecursionError):
        return _Bad(MALFORMED)
    text = value.get(name) if isinstance(value, dict) else None
    try:
        if isinstance(text, str):
            text.encode()
    except UnicodeEncodeError:
        return _Bad(SURROGATE)
    return value


def _plain_text(piece: Piece, unit: str, tally: Tally, number: int) -> Iterator[str]:
    if unit == "file":
        content = whole(piece)
        yield from _decoded(content, piece, tally, offset=0)
        return
    paragraph: list[bytes] = []
    begin = size = line_number = 0
    for offset, line in lines(piece):
        line_number += 1
        if unit == "line":
            if line is not None and not line.strip():
                tally.blank += 1
            else:
                yield from _decoded(line, piece, tally, line=line_number, offset=offset)
            continue
        if line is not None and not line.strip():
            tally.blank += 1
            if paragraph or size:
                yield from _paragraph(paragraph, size, piece, tally, begin)
            paragraph, size = [], 0
            continue
        if not size:
            begin = offset
        size += LONGEST_DOCUMENT + 1 if line is None else len(line) + 1
        if size <= LONGEST_DOCUMENT and line is not None:
            paragraph.append(line)
        else:
            paragraph = []
    if paragraph or size:
        yield from _paragraph(paragraph, size, piece, tally, begin)
    tally.lines[number] = line_number


def _paragraph(paragraph: list[bytes], size: int, piece: Piece, tally: Tally, begin: int) -> Iterator[str]:
    content = b"\n".join(paragraph) if size <= LONGEST_DOCUMENT else None
    return _decoded(content, piece, tally, offset=begin)


def _decoded(content: bytes | None, piece: Piece, tally: Tally, **where: int) -> Iterator[str]:
    if content is None:
        tally.bad(TOO_LONG, piece.file, **where)
        return
    try:
        text = content.decode()
    except UnicodeDecodeError:
        tally.bad(NOT_UTF8, piece.file, **where)
        return
    tally.bytes += len(content)
    yield text


def _rows(piece: Piece, name: str, tally: Tally) -> Iterator[str]:
    for row, value in rows(piece.file, name, piece.start, piece.end):
        if not isinstance(value, bytes):
            tally.bad(NO_TEXT, piece.file, row=row)
        elif len(value) > LONGEST_DOCUMENT:
            tally.bad(TOO_LONG, piece.file, row=row)
        else:
            yield from _decoded(value, piece, tally, row=row)
