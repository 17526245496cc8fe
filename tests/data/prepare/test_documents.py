"""The documents of a file, whatever line ends, marks and encoding it has, and wherever it is cut."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from megatron_lrps.data.prepare import documents as module
from megatron_lrps.data.prepare.documents import Tally, documents
from megatron_lrps.data.prepare.find import SourceFile, TextSource
from megatron_lrps.data.prepare.shards import cut

BOM = b"\xef\xbb\xbf"
LF = "first line\nsecond line\n\nnext paragraph\n \nlast\n"
EXPECTED = {
    "line": ["first line", "second line", "next paragraph", "last"],
    "paragraph": ["first line\nsecond line", "next paragraph", "last"],
    "file": [LF],
}
ENDS, REMOVED, KEPT = "line ends CR LF or CR made LF", "byte order mark removed", "U+FEFF within the text kept"


def read(
    folder: Path, content: bytes, *, kind: str = "text", unit: str = "file", packing: str = "", shard: int = 2**28
) -> tuple[list[str], Tally]:
    """All documents, and what was counted."""
    path = folder / "a"
    packed = {"": bytes, "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}[packing](content)
    path.write_bytes(packed)
    file = SourceFile(
        path=path,
        kind=kind,
        packing=packing,
        bytes=len(packed),
        mtime_ns=path.stat().st_mtime_ns,
        stated=True,  # type: ignore[arg-type]
    )
    source = TextSource(
        key="k", prefix=folder / "p", files=(file,), field="text", documents=unit, max_unreadable=0.0, trains=True
    )
    tally = Tally(io.StringIO())
    return [text for each in cut(source, shard) for text in documents(each, source, tally)], tally


@pytest.mark.parametrize("unit", EXPECTED)
@pytest.mark.parametrize("end", ["\r\n", "\r", "\r\r\n"], ids=["CR LF", "CR", "CR CR LF"])
def test_line_ends_of_every_kind_give_the_same_documents(end: str, unit: str, tmp_path: Path) -> None:
    content = LF.replace("\n", end).encode()
    found, tally = read(tmp_path, content, unit=unit)
    assert found == EXPECTED[unit]
    # A single line has no end within it, and nothing of it was changed.
    changed = sum("\n" in text for text in found)
    assert tally.remarks == ({ENDS: changed} if changed else {})
    assert not tally.unreadable


@pytest.mark.parametrize("unit", EXPECTED)
def test_mixed_line_ends(unit: str, tmp_path: Path) -> None:
    content = b"first line\r\nsecond line\n\r\nnext paragraph\r \nlast\r"
    assert read(tmp_path, content, unit=unit)[0] == EXPECTED[unit]


def test_other_characters_end_no_line(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    found, tally = read(tmp_path, f"{text}\r\nnext\r\n".encode(), unit="line")
    assert (found, tally.remarks) == ([text, "next"], {})


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("unit", EXPECTED)
def test_utf_16_and_32_are_decoded(unit: str, encoding: str, tmp_path: Path) -> None:
    content = ("\ufeff" + LF.replace("\n", "\r\n")).encode(encoding)
    for packing in ("", "gz", "zst"):
        found, tally = read(tmp_path, content, unit=unit, packing=packing, shard=20)
        assert found == EXPECTED[unit]
        assert tally.remarks[f"decoded from {encoding.upper()}"] == len(found)
        assert tally.remarks[REMOVED] == 1


def test_json_lines_as_powershell_writes_them(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\r\n" for text in ("é", "漢字", "\U0001f600"))
    found, tally = read(tmp_path, ("\ufeff" + lines).encode("utf-16-le"), kind="jsonl", shard=20)
    assert found == ["é", "漢字", "\U0001f600"]
    assert tally.remarks == {"decoded from UTF-16-LE": 3, REMOVED: 1}


def test_what_is_no_utf_16_is_counted_by_that_name(tmp_path: Path) -> None:
    content = "\ufeffgood\nbad ".encode("utf-16-le") + b"\x00\xd8\n\0" + "more\n".encode("utf-16-le")
    found, tally = read(tmp_path, content, unit="line")
    assert (found, tally.unreadable) == (["good", "more"], {"not UTF-16-LE": 1})


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_json_lines_by_any_line_end(end: str, tmp_path: Path) -> None:
    """Within its strings JSON has no line end, so that no document is changed by them."""
    texts = [f"a\r\n{number}\u2028" for number in range(20)]
    content = end.join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode()
    for shard in (2**28, 50):
        found, tally = read(tmp_path, content, kind="jsonl", shard=shard)
        assert (found, tally.remarks, tally.unreadable) == (texts, {}, {})


def test_marks_of_files_that_were_joined_are_no_text(tmp_path: Path) -> None:
    one, two = BOM + b'{"text": "a"}\n', BOM + BOM + b'{"text": "b"}\r\n'
    found, tally = read(tmp_path, one + two + BOM + b"\n" + one, kind="jsonl")
    assert (found, tally.remarks, tally.blank) == (["a", "b", "a"], {REMOVED: 3}, 1)
    members = tmp_path / "members"
    members.write_bytes(gzip.compress(one) + gzip.compress(two))
    found, tally = read(tmp_path, gzip.decompress(members.read_bytes()), kind="jsonl", packing="zst")
    assert (found, tally.remarks) == (["a", "b"], {REMOVED: 2})


@pytest.mark.parametrize(("unit", "marked"), [("line", 2), ("paragraph", 2), ("file", 1)])
def test_marks_at_a_line_of_plain_text_go_and_others_stay(unit: str, marked: int, tmp_path: Path) -> None:
    part = BOM + LF.encode()
    found, tally = read(tmp_path, part + part, unit=unit)
    joined = [*EXPECTED["paragraph"][:2], "last\nfirst line\nsecond line", *EXPECTED["paragraph"][1:]]
    assert found == {"line": EXPECTED["line"] * 2, "paragraph": joined, "file": [LF + LF]}[unit]
    assert tally.remarks == {REMOVED: marked}
    found, tally = read(tmp_path, "zero\ufeffwidth\n".encode(), unit=unit)
    assert found[0].rstrip() == "zero\ufeffwidth"
    assert tally.remarks == {KEPT: 1}


def test_a_mark_within_a_json_string_is_text(tmp_path: Path) -> None:
    """Megatron's tool trains on it too; it is counted, since it is mostly of a file that was read wrong."""
    found, tally = read(tmp_path, json.dumps({"text": "\ufeffa"}).encode(), kind="jsonl")
    assert (found, tally.remarks) == (["\ufeffa"], {KEPT: 1})


ZEROS = "zero bytes (NUL), as of binary data or of UTF-16"


@pytest.mark.parametrize(
    ("content", "found", "bad"),
    [
        (b"good\n" + bytes(100) + b"\nmore\n", ["good", "more"], 1),  # a hole of a file that was cut off
        (b"good\n" + "appended by PowerShell\n".encode("utf-16-le"), ["good"], 2),
        (b"a\0b\n", ["a\0b"], 0),
        (b"x" * 1000 + b"\0" * 7 + b"\n", ["x" * 1000 + "\0" * 7], 0),
        (b"x" * 1000 + b"\0" * 8 + b"\n", [], 1),
        (b"x\0y" * 8 + b"\n", [], 1),
    ],
)
def test_runs_and_shares_of_zero_bytes_are_no_text(content: bytes, found: list[str], bad: int, tmp_path: Path) -> None:
    texts, tally = read(tmp_path, content, unit="line")
    assert (texts, sum(tally.unreadable.values())) == (found, bad)
    assert tally.unreadable[ZEROS] == bad


def test_zero_bytes_in_json_lines(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}).encode() for text in ("a\0b", "\0" * 8, "good")]
    found, tally = read(tmp_path, b"\n".join([*lines, bytes(50)]), kind="jsonl")
    assert (found, tally.unreadable, tally.remarks) == (["a\0b", "good"], {ZEROS: 2}, {"zero byte (NUL) kept": 1})


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift-jis", "gb18030", "koi8-r"])
@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_legacy_text_is_counted_by_name(kind: str, encoding: str, tmp_path: Path) -> None:
    text = {"shift-jis": "日本語", "gb18030": "汉字", "koi8-r": "привет"}.get(encoding, "déjà")
    line = json.dumps({"text": text}, ensure_ascii=False) if kind == "jsonl" else text
    found, tally = read(tmp_path, f"{line}\n{line}\n".encode(encoding), kind=kind, unit="line")
    assert (found, tally.unreadable) == ([], {"not UTF-8": 2})


def test_what_an_earlier_tool_replaced_is_said(tmp_path: Path) -> None:
    found, tally = read(tmp_path, "caf\ufffd\n".encode(), unit="line")
    assert found == ["caf\ufffd"]
    assert list(tally.remarks.values()) == [1]
    assert next(iter(tally.remarks)).startswith("U+FFFD in the text")


PARTS = ["\n", "\r", "\r\n", "a", "b c", " ", "\ufeff", "é漢", "\n\n", "\u2028"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(text=st.lists(st.sampled_from(PARTS), max_size=40).map("".join), shard=st.integers(1, 40))
def test_a_cut_changes_nothing(text: str, shard: int, tmp_path: Path) -> None:
    whole, one = read(tmp_path, text.encode(), unit="line")
    parts, other = read(tmp_path, text.encode(), unit="line", shard=shard)
    assert parts == whole
    assert (one.remarks, one.blank, one.unreadable) == (other.remarks, other.blank, other.unreadable)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    unmarked = [line.lstrip("\ufeff") for line in lines]
    assert whole == [line for line in unmarked if line.strip(" ")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    texts=st.lists(st.text(st.sampled_from("ab\r\n\ufeff\u2028é"), max_size=5), max_size=10),
    ends=st.lists(st.sampled_from(["\n", "\r", "\r\n", "\r\n\r\n", "\n\ufeff"]), min_size=10, max_size=10),
    shard=st.integers(1, 60),
)
def test_a_cut_of_json_lines_changes_nothing(texts: list[str], ends: list[str], shard: int, tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}, ensure_ascii=False) + end for text, end in zip(texts, ends, strict=False)]
    found, tally = read(tmp_path, "".join(lines).encode(), kind="jsonl", shard=shard)
    assert (found, tally.unreadable) == (texts, {})


def test_a_long_paragraph_is_passed_over_whatever_its_line_ends(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "LONGEST_DOCUMENT", 20)
    found, tally = read(tmp_path, b"short\r\n\r\n" + b"0123456789\r\n" * 3 + b"\r\nlast", unit="paragraph")
    assert (found, tally.unreadable) == (["short", "last"], {"longer than 64 MiB": 1})
