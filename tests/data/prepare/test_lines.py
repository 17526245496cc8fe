"""Lines in spans: every line is in exactly one, wherever a file is cut and however blocks fall."""

import gzip
import re
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from megatron_lrps.data.prepare import lines as module
from megatron_lrps.data.prepare import text_blocks
from megatron_lrps.data.prepare.find import SourceFile
from megatron_lrps.data.prepare.lines import lines, whole
from megatron_lrps.data.prepare.shards import FileSpan


def span(path: Path, start: int = 0, end: int | None = None, packing: str = "") -> FileSpan:
    facts = path.stat()
    file = SourceFile(path=path, kind="jsonl", packing=packing, bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)  # type: ignore[arg-type]
    return FileSpan(file=file, start=start, end=end)


CONTENT = st.lists(
    st.sampled_from([b"\n", b"a", b"bc", b"\r", b"\r\n", b"\xff", b"   ", b"\x0b\x0c\x1c", "\x85\u2028".encode()]),
    max_size=40,
).map(b"".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=500)
@given(content=CONTENT, cuts=st.sets(st.integers(1, 60)), block=st.integers(1, 9), ends=st.booleans())
def test_every_line_is_in_one_span(content: bytes, cuts: set[int], block: int, ends: bool, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    inside = sorted(cut for cut in cuts if cut < len(content))
    bounds = [0, *inside, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_blocks, "_BLOCK", block)
        found = [line for start, end in pairwise(bounds) for line in lines(span(path, start or 0, end), ends=ends)]
    expected = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", content)
    assert [line for _, line in found] == (expected if ends else [line.rstrip(b"\r\n") for line in expected])
    assert all(content[offset:].startswith(line) for offset, line in found if line is not None)


@pytest.mark.parametrize("packing", ["", "gz", "zst"])
def test_a_long_line_is_none_and_the_others_stay(packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_DOCUMENT", 10)
    monkeypatch.setattr(text_blocks, "_BLOCK", 4)
    content = b"0123456789\n01234567890\nx\n" + b"y" * 100
    packed = {"": bytes, "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}[packing](content)
    (tmp_path / "a").write_bytes(packed)
    found = list(lines(span(tmp_path / "a", packing=packing)))
    assert found == [(0, b"0123456789"), (11, None), (23, b"x"), (25, None)]
    assert whole(span(tmp_path / "a", packing=packing)) is None
