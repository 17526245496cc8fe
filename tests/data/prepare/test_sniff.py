"""What a file is in truth, whatever its name says."""

import gzip
import io
import json
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard

from megatron_lrps.data.prepare.find import SourceFile
from megatron_lrps.data.prepare.sniff import encoding_of
from megatron_lrps.errors import RefusedError

LATIN = "The quick brown fox.\nIt jumps over the dog.\n"
RECORDS = [{"text": f"document {number}", "id": number} for number in range(3)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)


def sniffed(folder: Path, content: bytes, *, kind: str, packing: str = "", stated: bool = False) -> str:
    path = folder / f"a.{kind}"
    path.write_bytes(gzip.compress(content) if packing else content)
    facts = path.stat()
    file = SourceFile(
        path=path,
        kind=kind,
        packing=packing,
        bytes=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        stated=stated,  # type: ignore[arg-type]
    )
    return encoding_of(file)


def refusal(folder: Path, content: bytes, *, kind: str, packing: str = "", stated: bool = False) -> str:
    with pytest.raises(RefusedError) as refused:
        sniffed(folder, content, kind=kind, packing=packing, stated=stated)
    assert refused.value.what.startswith(str(folder / f"a.{kind}"))
    assert refused.value.fix
    return str(refused.value).removeprefix(str(folder / f"a.{kind}")).strip()


@pytest.mark.parametrize("kind", ["jsonl", "text"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_mark_says_the_encoding_and_without_one_it_is_refused(encoding: str, kind: str, tmp_path: Path) -> None:
    content = LINES if kind == "jsonl" else LATIN
    assert sniffed(tmp_path, f"\ufeff{content}".encode(encoding), kind=kind) == encoding
    assert sniffed(tmp_path, f"\ufeff{content}".encode(encoding), kind=kind, packing="gz") == encoding
    words = f"looks like text in {encoding.upper()} without a byte order mark. Fix: Look whether that is its encoding, "
    words += "and convert it, for example with `iconv -f "
    assert refusal(tmp_path, content.encode(encoding), kind=kind).startswith(words)


@pytest.mark.parametrize(
    "text",
    [
        "привет мир, как дела\n" * 9,
        "नमस्ते दुनिया\n" * 9,
        "สวัสดี ชาวโลก\n" * 9,
        "Grüße aus Köln\n",
        "漢字 かな 漢字、\n" * 9,
    ],
    ids=["Cyrillic", "Devanagari", "Thai", "German", "Japanese"],
)
def test_utf_16_of_other_scripts_is_seen_too(text: str, tmp_path: Path) -> None:
    """Cyrillic in UTF-16 is valid UTF-8 of control characters and ASCII."""
    assert "UTF-16-LE" in refusal(tmp_path, text.encode("utf-16-le"), kind="text")
    assert "UTF-16-BE" in refusal(tmp_path, text.encode("utf-16-be"), kind="text")
    assert sniffed(tmp_path, text.encode(), kind="text") == "utf-8"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a",
        b"a\0b \x01\x1c\x7f\xc2\x85",
        b"\xef\xbb\xbfmarked\n",
        b"\n\n  \n",
        b"caf\xe9 in Latin-1\n",
        "日本語テキスト\n".encode("shift-jis"),
        b"NUL\0" * 3 + b"x" * 1000,
        b"[1] a footnote\nand text\n",
        b"[link](http://x) {curly}\n",
        b"{\n  int x = 0;\n}\n",
        b'{"quoted"} brackets, and text,\nmore,\n',
        b"x" * 2**19,
    ],
)
def test_what_is_taken_as_it_is(content: bytes, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are found, counted and named where they are read."""
    assert sniffed(tmp_path, content, kind="text") == "utf-8"


def other_files(folder: Path) -> dict[str, bytes]:
    parquet.write_table(pa.table({"text": ["a"]}), folder / "p")
    with pa.ipc.new_file(folder / "f", pa.schema({"text": pa.string()})) as writer:
        writer.write_table(pa.table({"text": ["a"]}))
    with sqlite3.connect(folder / "s") as database:
        database.execute("create table t (text)")
    archive, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.txt", LATIN)
    with tarfile.open(fileobj=tar, mode="w") as packing:
        packing.addfile(tarfile.TarInfo("a.txt"))
    import bz2
    import lzma

    return {
        "gzip data": gzip.compress(LATIN.encode()),
        "Zstandard data": zstandard.ZstdCompressor().compress(LATIN.encode()),
        "a Parquet file": (folder / "p").read_bytes(),
        "an Arrow file": (folder / "f").read_bytes(),
        "an SQLite database": (folder / "s").read_bytes(),
        "a ZIP archive": archive.getvalue(),
        "a tar archive": tar.getvalue(),
        "bzip2 data": bz2.compress(LATIN.encode()),
        "xz data": lzma.compress(LATIN.encode()),
        "a PDF file": b"%PDF-1.4\nall of it ASCII\n",
        "a Rich Text file": b"{\\rtf1 text}",
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    }


@pytest.mark.parametrize("kind", ["jsonl", "text"])
def test_another_file_under_this_name_is_one_line(kind: str, tmp_path: Path) -> None:
    for what, content in other_files(tmp_path).items():
        assert refusal(tmp_path, content, kind=kind).startswith(f"is {what}"), what
        assert refusal(tmp_path, content, kind=kind, packing="gz", stated=True).startswith(f"holds {what}"), what
    assert "Rename it so that its name ends in .gz" in refusal(tmp_path, gzip.compress(b"x"), kind=kind)


ARRAYS = {
    "pretty": json.dumps(RECORDS, indent=2),
    "on one line": json.dumps(RECORDS),
    "a line each": "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]\n",
    "begun on the first line": "[" + ",\n".join(map(json.dumps, RECORDS)) + "]",
    "behind a mark and blanks": "\ufeff\n [ " + ", ".join(map(json.dumps, RECORDS)) + "]",
    "longer than what is looked at": json.dumps(RECORDS * 20_000),
    "of one long object": json.dumps([{"text": "x" * 2**19}]),
    "of lists": "[\n[1],\n[2]\n]",
    "CR LF": json.dumps(RECORDS, indent=2).replace("\n", "\r\n"),
    "CR": json.dumps(RECORDS, indent=2).replace("\n", "\r"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_no_json_lines(name: str, tmp_path: Path) -> None:
    said = refusal(tmp_path, ARRAYS[name].encode(), kind="jsonl")
    assert said.startswith("is one JSON array, and JSON Lines is one object on each line. Fix: ")
    assert "`jq -c '.[]'`" in said
    if "[1]" not in ARRAYS[name]:
        assert refusal(tmp_path, ARRAYS[name].encode(), kind="text").startswith(
            "is one JSON array, and is read as plain"
        )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\n".join(json.dumps(record, indent=1) for record in RECORDS), "has objects over several lines"),
        ('{"text": "a",\n "id": 1}\n{"text": "b",\n "id": 2}\n', "has objects over several lines"),
        (json.dumps({"text": "x" * 2**19}, indent=1), "has objects over several lines"),
        (LINES.replace("}\n", "},\n"), "has lines that end in commas"),
        ('["a"],\n["b"],\n', "has lines that end in commas"),
    ],
)
def test_other_json_that_is_no_json_lines(content: str, words: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, content.encode(), kind="jsonl").startswith(words)


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        LINES.replace("\n", "\r"),
        json.dumps(RECORDS[0]),
        '["a", "bad line"]\n' + LINES,
        '[{"text": "a bad line"}]\n' + LINES,
        '{"text": "cut off\n' + LINES,
        '{"text": "with a comma"},\n' + LINES,
        "no JSON at all\n",
        "[" * 3000,
        json.dumps({"text": "x" * 2**19}) + "\n" + LINES,
    ],
    ids=range(10),
)
def test_json_lines_with_bad_ones_are_read(content: str, tmp_path: Path) -> None:
    assert sniffed(tmp_path, content.encode(), kind="jsonl") == "utf-8"


def test_json_lines_as_plain_text_only_where_the_plan_says_so(tmp_path: Path) -> None:
    said = refusal(tmp_path, LINES.encode(), kind="text")
    assert said.startswith("is JSON Lines, and is read as plain text. Fix: Set `format: jsonl`")
    assert sniffed(tmp_path, LINES.encode(), kind="text", stated=True) == "utf-8"
    assert sniffed(tmp_path, ARRAYS["pretty"].encode(), kind="text", stated=True) == "utf-8"


def test_iso_2022_is_ascii_and_no_text(tmp_path: Path) -> None:
    assert "ISO-2022-JP" in refusal(tmp_path, "日本語テキスト\n".encode("iso-2022-jp"), kind="text")
    assert sniffed(tmp_path, b"\x1b[31mred\x1b[0m\n", kind="text") == "utf-8"
