"""Tells a file's encoding by its first bytes, and refuses a file that is not what its name says."""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

from megatron_lrps.data.prepare.find import SourceFile
from megatron_lrps.data.prepare.text_blocks import UTF8, Blocks
from megatron_lrps.errors import RefusedError

_HEAD = 2**18
_LINES = 8
_UNPACK = "Unpack it, and name the files that it holds."
_CONVERT = "Export its text to JSON Lines or to plain text."

_MARKS = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
"""Byte order marks; UTF-16's second is the beginning of UTF-32's first."""

_OTHERS = (
    (b"\x1f\x8b", "gzip data", "Rename it so that its name ends in .gz."),
    (b"\x28\xb5\x2f\xfd", "Zstandard data", "Rename it so that its name ends in .zst."),
    (b"PAR1", "a Parquet file", "Rename it to .parquet, or set `format: parquet`."),
    (b"ARROW1\0\0", "an Arrow file", "Rename it to .arrow, or set `format: dataset`."),
    (b"SQLite format 3\0", "an SQLite database", _CONVERT),
    (b"%PDF-", "a PDF file", _CONVERT),
    (b"{\\rtf", "a Rich Text file", _CONVERT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Microsoft Office file", _CONVERT),
    (b"Obj\x01", "an Avro file", _CONVERT),
    (b"\x89HDF\r\n", "an HDF5 file", _CONVERT),
    (b"\x93NUMPY", "a NumPy file", _CONVERT),
    (b"PK\x03\x04", "a ZIP archive (.docx, .xlsx and .epub are ones too)", _UNPACK),
    (b"\xfd7zXZ\0", "xz data", _UNPACK),
    (b"\x04\x22\x4d\x18", "LZ4 data", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS, not the file",
        "Fetch it with `git lfs pull`.",
    ),
)
"""The first bytes of files of other kinds, the names of the kinds, and what to do about each."""

_FURTHER = ((257, b"ustar", "a tar archive"), (4, b"1AY&SY", "bzip2 data"))
_OWN = {"parquet": b"PAR1", "arrow": b"ARROW1\0\0"}
_ODD, _BLANK = ("Cc", "Cn", "Co", "Cs"), "\t\n\r\f"
_ISO_2022 = (b"\x1b$B", b"\x1b$@", b"\x1b$(", b"\x1b$)")


def encoding_of(file: SourceFile) -> str:
    """Return the encoding of a file of JSON Lines or plain text, as Python names it.

    UTF-16 and UTF-32 are told by a byte order mark. All else is taken as ``UTF8``; text that is not UTF-8 is found when
    it is read.

    Raises:
        RefusedError: The file is of another kind than its name says, or its encoding can only be guessed.
    """
    head = _head(file)
    _refuse_others(file, head)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), UTF8)
    if encoding == UTF8:
        _refuse_guesses(file, head)
    text = head.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff \t\n")
    if text.startswith(("{", "[")):
        _refuse_json(file, text, cut=len(head) == _HEAD)
    return encoding


def refuse_other_kind(file: SourceFile) -> None:
    """Raise RefusedError if a file of tables is a file of another kind."""
    _refuse_others(file, _head(file))


def _head(file: SourceFile) -> bytes:
    head = b""
    for block in Blocks(file).raw(_HEAD):
        head += block
        if len(head) >= _HEAD:
            break
    return head[:_HEAD]


def _refuse_others(file: SourceFile, head: bytes) -> None:
    for start, what, fix in _OTHERS:
        if head.startswith(start) and start != _OWN.get(file.kind):
            raise _another(file, what, _UNPACK if file.packing else fix)
    for place, mark, what in _FURTHER:
        if head.startswith(mark, place):
            raise _another(file, what, _UNPACK)


def _another(file: SourceFile, what: str, fix: str) -> RefusedError:
    inside = "holds" if file.packing else "is"
    taken = {"jsonl": "JSON Lines", "text": "plain text"}.get(file.kind, f"a {file.kind} file")
    return RefusedError(f"{file.path} {inside} {what}, and is read as {taken}.", fix)


def _refuse_guesses(file: SourceFile, head: bytes) -> None:
    name = _unmarked(head) if b"\0" in head else None
    if name is None and any(escape in head for escape in _ISO_2022):
        name = "iso-2022-jp"
    if name is None:
        return
    code = name.upper().replace("16-", "16").replace("32-", "32")
    without = "" if name.startswith("iso") else " without a byte order mark"
    fix = f"Look whether that is its encoding, and convert it, for example with `iconv -f {code} -t UTF-8`."
    raise RefusedError(f"{file.path} looks like text in {name.upper()}{without}.", fix)


def _unmarked(head: bytes) -> str | None:
    """Detect UTF-16 or UTF-32 by the places of ASCII characters' zero bytes, if the text makes sense then."""
    size = len(head) // 4 * 4 or len(head) // 2 * 2
    zeros = [head[place:size:4].count(0) for place in range(4)]
    if sum(zeros) < max(4, size // 50):
        return None
    most = size // 4 * 9 // 10
    if min(zeros[2:]) > most or min(zeros[:2]) > most:
        name = "utf-32-le" if zeros[3] >= zeros[0] else "utf-32-be"
    else:
        first, second = zeros[0] + zeros[2], zeros[1] + zeros[3]
        if min(first, second) * 20 > max(first, second):
            return None
        name = "utf-16-le" if second > first else "utf-16-be"
    text = head[:size].decode(name, "replace")[:4096]
    odd = sum(letter == "\ufffd" or unicodedata.category(letter) in _ODD for letter in text if letter not in _BLANK)
    return name if odd * 50 <= len(text) else None


def _refuse_json(file: SourceFile, text: str, *, cut: bool) -> None:
    """Refuse JSON that is not JSON Lines, and any JSON as plain text unless the plan says that it is plain text."""
    what = _shape(text, cut=cut)
    if file.kind == "jsonl" and what is not None:
        raise RefusedError(f"{file.path} {what[0]}, and JSON Lines is one object on each line.", what[1])
    if file.kind == "text" and not file.stated:
        objects = [_value(line) for line in _lines(text, cut=cut)]
        if what is None and objects and all(isinstance(value, dict) for value in objects):
            what = "is JSON Lines", ""
        if what is not None:
            fix = "Set `format: jsonl` or rename it, or set `format: text` to train on the JSON itself."
            raise RefusedError(f"{file.path} {what[0]}, and is read as plain text.", fix)


def _shape(text: str, *, cut: bool) -> tuple[str, str] | None:
    """Say how JSON differs from one object a line, and what to do; None if it may be JSON Lines, or is not JSON."""
    pretty = "has objects over several lines", "Write each on one line, for example with `jq -c .`."
    array = "is one JSON array", "Write each of its objects on a line, for example with `jq -c '.[]'`."
    first = text.split("\n", 1)[0]
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        inner = text[1:].lstrip()
        if text.startswith("[") and inner.startswith("{") and _begins_with_object(inner):
            return array
        # Too long to be seen whole.
        return pretty if cut and first.rstrip() == "{" and inner.startswith('"') else _commas(text, cut=cut)
    several, rest = "\n" in text[:end], text[end:].strip()
    if isinstance(value, list) and (several or (not rest and any(isinstance(each, dict) for each in value))):
        return array
    return pretty if several else _commas(text, cut=cut)


def _begins_with_object(text: str) -> bool:
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return text[1:].lstrip().startswith('"')
    return isinstance(value, dict)


def _commas(text: str, *, cut: bool) -> tuple[str, str] | None:
    found = list(_lines(text, cut=cut))
    if found and all(line.endswith(",") and isinstance(_value(line[:-1]), dict | list) for line in found):
        return "has lines that end in commas", "Remove the commas, for example with `sed 's/,[[:space:]]*$//'`."
    return None


def _lines(text: str, *, cut: bool) -> Iterator[str]:
    """Yield the first lines that are not blank, without one that was cut off."""
    found = text.split("\n")
    whole = [line.strip() for line in (found[:-1] if cut else found) if line.strip()]
    yield from whole[:_LINES]


def _value(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
