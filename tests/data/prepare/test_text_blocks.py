"""Bytes in UTF-8 of files in UTF-16 and UTF-32, however blocks fall."""

import gzip
from pathlib import Path

import pytest

from megatron_lrps.data.prepare import text_blocks
from megatron_lrps.data.prepare.find import SourceFile
from megatron_lrps.data.prepare.text_blocks import Blocks

TEXT = "a\r\nbé 漢字 \U0001f600\n\ufeffc\u2028"


def read(folder: Path, content: bytes, encoding: str, *, packed: bool = False) -> bytes:
    path = folder / "a.txt"
    path.write_bytes(gzip.compress(content) if packed else content)
    facts = path.stat()
    file = SourceFile(
        path=path, kind="text", packing="gz" if packed else "", bytes=facts.st_size, mtime_ns=facts.st_mtime_ns
    )
    return b"".join(Blocks(file, encoding))


@pytest.mark.parametrize("block", [1, 3, 4, 2**22])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_text_is_the_same_wherever_a_block_ends(
    encoding: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_blocks, "_BLOCK", block)
    assert read(tmp_path, TEXT.encode(encoding), encoding) == TEXT.encode()
    assert read(tmp_path, TEXT.encode(encoding), encoding, packed=True) == TEXT.encode()


@pytest.mark.parametrize(
    ("content", "encoding", "before"),
    [
        ("good\n".encode("utf-16-le") + b"x", "utf-16-le", b"good\n"),
        ("good\n".encode("utf-16-le") + b"\x00\xd8x\x00", "utf-16-le", b"good\n"),
        ("good\n".encode("utf-32-be") + b"\xff\xff\xff\xff", "utf-32-be", b"good\n"),
        # Two files in one, the second in the other byte order: from its mark on nothing is what it seems.
        ("good\n".encode("utf-16-le") + "\ufeffb\n".encode("utf-16-be"), "utf-16-le", b"good\n"),
    ],
)
def test_what_is_no_text_is_no_utf8_either(content: bytes, encoding: str, before: bytes, tmp_path: Path) -> None:
    found = read(tmp_path, content, encoding)
    assert found.startswith(before)
    with pytest.raises(UnicodeDecodeError):
        found[len(before) :].decode()
