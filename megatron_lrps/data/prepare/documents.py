"""The documents of a shard, one after the other. Unreadable documents are counted and listed, never just dropped."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from megatron_lrps.data.prepare.find import SourceFile, TextSource
from megatron_lrps.data.prepare.lines import LONGEST_DOCUMENT, lines, whole
from megatron_lrps.data.prepare.shards import FileSpan, Shard
from megatron_lrps.data.prepare.sniff import encoding_of, refuse_other_kind
from megatron_lrps.data.prepare.tables import rows
from megatron_lrps.data.prepare.text_blocks import UTF8
from megatron_lrps.errors import RefusedError

TOO_LONG = f"longer than {LONGEST_DOCUMENT // 2**20} MiB"
NOT_UTF8 = "not UTF-8"
MALFORMED = "malformed JSON"
NO_FIELD = "no such field"
NO_TEXT = "the field is no text"
SURROGATE = "a lone surrogate, which UTF-8 cannot write"
ZEROS = "zero bytes (NUL), as of binary data or of UTF-16"

LINE_ENDS = "line ends CR LF or CR made LF"
MARK_REMOVED = "byte order mark removed"
MARK_KEPT = "U+FEFF within the text kept"
REPLACED = "U+FFFD in the text, by which some earlier tool replaced what it could not read"
ZERO_KEPT = "zero byte (NUL) kept"

_MARK = b"\xef\xbb\xbf"
_MARKS = re.compile(rb"^(?:\xef\xbb\xbf)+", re.MULTILINE)
_FEW_ZEROS = 8
_ZERO_SHARE = 0.05


@dataclass
class Tally:
    """The counts of a shard's text.

    Attributes:
        report: Gets a JSON line for every unreadable document.
        bytes: Bytes of the lines, rows and files that held the documents, unpacked.
        blank: Lines that hold nothing; they are not documents.
        unreadable: Unreadable documents by reason.
        remarks: Documents that were changed or are odd, by what was changed or is odd.
        lines: Lines of each of the shard's ranges, by the range's number.
    """

    report: IO[str]
    bytes: int = 0
    blank: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    lines: Counter[int] = field(default_factory=Counter)

    def bad(self, reason: str, file: SourceFile, **where: Any) -> None:
        """Count and list an unreadable document."""
        self.unreadable[reason] += 1
        self.report.write(json.dumps({"reason": reason, "file": str(file.path), **where}) + "\n")


def documents(shard: Shard, source: TextSource, tally: Tally) -> Iterator[str]:
    """Yield the texts of a shard in order.

    Raises:
        RefusedError: A file is torn, has no such column, or has changed since it was found.
    """
    for number, span in enumerate(shard.spans):
        _same(span.file)
        if span.file.kind == "jsonl":
            yield from _json_lines(span, source.field, tally, number)
        elif span.file.kind == "text":
            yield from _plain_text(span, source.documents, tally, number)
        else:
            yield from _rows(span, source.field, tally)
        _same(span.file)


def _encoding(span: FileSpan) -> str:
    """Return the encoding of a range's file. Only files in UTF-8 are cut (``shards.cut``)."""
    return UTF8 if span.start else encoding_of(span.file)


def _same(file: SourceFile) -> None:
    try:
        facts = file.path.stat()
    except OSError as error:
        raise RefusedError(
            f"{file.path} cannot be read: {error.strerror}.", "Put it back, and run the command again."
        ) from None
    if (facts.st_size, facts.st_mtime_ns) != (file.bytes, file.mtime_ns):
        raise RefusedError(
            f"{file.path} was changed while it was read.",
            "Run the command again when nothing writes the file any more.",
        )


def _json_lines(span: FileSpan, name: str, tally: Tally, number: int) -> Iterator[str]:
    import orjson

    loads, malformed = orjson.loads, orjson.JSONDecodeError
    line_number = 0
    encoding = _encoding(span)
    for line_number, (offset, line) in enumerate(lines(span, encoding), 1):
        marked = False
        if line is None:
            tally.bad(TOO_LONG, span.file, line=line_number, offset=offset)
            continue
        try:
            value = loads(line)
        except malformed:
            marked = line.startswith(_MARK)
            line = _MARKS.sub(b"", line)
            if not line.strip():
                tally.blank += 1
                continue
            value = _by_the_standard_library(line, name, encoding)
            if isinstance(value, _Bad):
                tally.bad(value.reason, span.file, line=line_number, offset=offset)
                continue
        text = value.get(name) if isinstance(value, dict) else None
        # A str subclass cannot come from JSON, so this is exact, and a third faster than isinstance.
        if type(text) is str:
            if _looked_at(text, encoding, tally, marked=marked):
                tally.bytes += len(line)
                yield text
            else:
                tally.bad(ZEROS, span.file, line=line_number, offset=offset)
            continue
        reason = NO_TEXT if isinstance(value, dict) and name in value else NO_FIELD
        tally.bad(reason, span.file, line=line_number, offset=offset)
    tally.lines[number] = line_number


@dataclass(frozen=True)
class _Bad:
    reason: str


def _by_the_standard_library(line: bytes, name: str, encoding: str) -> Any:
    """Parse the line as Megatron's tool does, with NaN and integers of any length, which orjson refuses."""
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError:
        return _Bad(_not(encoding))
    except (ValueError, RecursionError):
        return _Bad(ZEROS if line.count(0) >= _FEW_ZEROS else MALFORMED)
    text = value.get(name) if isinstance(value, dict) else None
    try:
        if isinstance(text, str):
            text.encode()
    except UnicodeEncodeError:
        return _Bad(SURROGATE)
    return value


def _plain_text(span: FileSpan, unit: str, tally: Tally, number: int) -> Iterator[str]:
    encoding = _encoding(span)
    if unit == "file":
        if (text := _decoded(whole(span, encoding), span, tally, encoding, offset=0)) is not None:
            yield text
    elif unit == "line":
        line_number = 0
        for line_number, (offset, line) in enumerate(lines(span, encoding), 1):
            if line is not None and _is_blank(line):
                tally.blank += 1
            elif line is not None and encoding == UTF8 and line.isascii() and 0 not in line:
                # Nothing in it can be changed or odd. This is the fast way, because lines may be short and many.
                tally.bytes += len(line)
                yield line.decode()
            elif (text := _decoded(line, span, tally, encoding, line=line_number, offset=offset)) is not None:
                yield text
        tally.lines[number] = line_number
    else:
        for begin, content in _paragraphs(span, encoding, tally):
            if (text := _decoded(content, span, tally, encoding, offset=begin)) is not None:
                yield text


def _paragraphs(span: FileSpan, encoding: str, tally: Tally) -> Iterator[tuple[int, bytes | None]]:
    """Yield offset and content of each paragraph, without the last line's end; None as content if it is too long."""
    paragraph: list[bytes] = []
    begin = size = 0
    for offset, line in lines(span, encoding, ends=True):
        if line is not None and _is_blank(line):
            if line == b"\r\n" and paragraph and paragraph[-1].endswith(b"\r"):
                paragraph.append(line)  # CR CR LF ends one line: CR LF that was written as text once more
                continue
            tally.blank += 1
            if size:
                yield begin, _joined(paragraph, size)
            paragraph, size = [], 0
            continue
        if not size:
            begin = offset
        size += LONGEST_DOCUMENT + 1 if line is None else len(line)
        if size <= LONGEST_DOCUMENT and line is not None:
            paragraph.append(line)
        else:
            paragraph = []
    if size:
        yield begin, _joined(paragraph, size)


def _joined(paragraph: list[bytes], size: int) -> bytes | None:
    return b"".join(paragraph).rstrip(b"\r\n") if size <= LONGEST_DOCUMENT else None


def _is_blank(line: bytes) -> bool:
    return not line or line.isspace() or (line.startswith(_MARK) and not _MARKS.sub(b"", line).strip())


def _decoded(
    content: bytes | None, span: FileSpan, tally: Tally, encoding: str = UTF8, *, plain: bool = True, **where: int
) -> str | None:
    """Return a document's text, if readable. In plain text, line ends become LF, and marks at a line's start go."""
    if content is None:
        tally.bad(TOO_LONG, span.file, **where)
        return None
    marked = ends = False
    if plain:
        if ends := b"\r" in content:
            content = content.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if marked := _MARK in content and _MARKS.search(content) is not None:
            content = _MARKS.sub(b"", content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        tally.bad(_not(encoding), span.file, **where)
        return None
    if not _looked_at(text, encoding, tally, marked=marked):
        tally.bad(ZEROS, span.file, **where)
        return None
    tally.bytes += len(content)
    if ends:
        tally.remarks[LINE_ENDS] += 1
    return text


def _not(encoding: str) -> str:
    return NOT_UTF8 if encoding == UTF8 else f"not {encoding.upper()}"


def _looked_at(text: str, encoding: str, tally: Tally, *, marked: bool) -> bool:
    """Count what is odd about a text; False if it has more zero bytes than a text may have."""
    if "\0" in text:
        # Zero bytes are valid UTF-8, but nobody writes them: without this, they would be trained on silently.
        count = text.count("\0")
        many = count >= _FEW_ZEROS and (count >= _ZERO_SHARE * len(text) or "\0" * _FEW_ZEROS in text)
        if many or not text.strip("\0\t\n\r "):
            return False
        tally.remarks[ZERO_KEPT] += 1
    if marked:
        tally.remarks[MARK_REMOVED] += 1
    if encoding != UTF8:
        tally.remarks[f"decoded from {encoding.upper()}"] += 1
    if not text.isascii():
        if "\ufeff" in text:
            tally.remarks[MARK_KEPT] += 1
        if "\ufffd" in text:
            tally.remarks[REPLACED] += 1
    return True


def _rows(span: FileSpan, name: str, tally: Tally) -> Iterator[str]:
    if not span.start:
        refuse_other_kind(span.file)
    for row, value in rows(span.file, name, span.start, span.end):
        if not isinstance(value, bytes):
            tally.bad(NO_TEXT, span.file, row=row)
        elif len(value) > LONGEST_DOCUMENT:
            tally.bad(TOO_LONG, span.file, row=row)
        elif (text := _decoded(value, span, tally, plain=False, row=row)) is not None:
            yield text
