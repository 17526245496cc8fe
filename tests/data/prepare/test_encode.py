"""A shard's part: what is checked, and what happens where a fast engine is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_lrps.data.prepare import encode
from megatron_lrps.data.prepare.encode import PartFiles, encode_shard, with_eod
from megatron_lrps.data.prepare.encoders import Encoded, TokenizerSpec
from megatron_lrps.data.prepare.encoders.encoder import flat
from megatron_lrps.data.prepare.find import SourceFile, TextSource
from megatron_lrps.data.prepare.shards import cut
from megatron_lrps.errors import LrpsError
from tests.data.prepare.jobs import write_jsonl


class Letters:
    """a is 1, b is 2, ...; ``wrong`` is a letter that it takes for another one."""

    vocab_size, eod = 100, 0

    def __init__(self, engine: str, *, exact: bool = True, wrong: str = "") -> None:
        self.engine, self.exact, self.wrong = engine, exact, wrong
        self.encoded = 0

    def encode(self, texts: Sequence[str]) -> Encoded:
        self.encoded += sum(map(len, texts))
        return flat([[99 if letter == self.wrong else ord(letter) - 96 for letter in text] for text in texts])


def encoded(
    folder: Path, texts: Sequence[str], fast: Letters, reference: Letters, patch: pytest.MonkeyPatch
) -> tuple[encode.Encoding, list[int], list[tuple[int, int]]]:
    """What encoding gives, its tokens, and what was counted."""
    file = write_jsonl(folder / "a.jsonl", texts)
    facts = file.stat()
    found = SourceFile(path=file, kind="jsonl", packing="", bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)
    source = TextSource(
        key="k", prefix=folder / "p", files=(found,), field="text", documents="file", max_unreadable=0.0, trains=True
    )
    (shard,) = cut(source)
    patch.setattr(encode, "load_reference", lambda spec: reference)
    counted: list[tuple[int, int]] = []
    spec: Any = TokenizerSpec(type="x")
    result = encode_shard(shard, source, fast, spec, "key", folder, lambda *counts: counted.append(counts))
    files = PartFiles(folder, shard.name)
    assert files.done("key") == result
    assert files.done("another") is None
    return result, np.frombuffer(files.bin.read_bytes(), np.uint16).tolist(), counted


def test_a_fast_engine_that_is_right_is_checked_on_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, reference = Letters("fast", exact=False), Letters("slow")
    monkeypatch.setattr(encode, "BATCH_CHARS", 1000)
    found, tokens, counted = encoded(tmp_path, ["abc"] * 20_000, fast, reference, monkeypatch)
    assert (found.engine, found.documents, found.tokens, found.differing) == ("fast", 20_000, 80_000, "")
    assert 0.004 * 20_000 <= found.checked <= 0.006 * 20_000 + 20
    assert reference.encoded == 3 * found.checked
    assert tokens == [1, 2, 3, 0] * 20_000
    assert sum(counted_tokens for _, counted_tokens in counted) == 80_000


def test_one_difference_and_the_reference_does_the_whole_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, reference = Letters("fast", exact=False, wrong="z"), Letters("slow")
    monkeypatch.setattr(encode, "BATCH_CHARS", 100)
    found, tokens, counted = encoded(tmp_path, [*["ab"] * 5000, *["az"] * 5000], fast, reference, monkeypatch)
    assert (found.engine, found.differing) == ("slow", "az")
    assert tokens == [1, 2, 0] * 5000 + [1, 26, 0] * 5000
    assert sum(counted_tokens for _, counted_tokens in counted) == 30_000


def test_a_long_document_is_checked_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Letters("slow")
    encoded(tmp_path, ["a" * 1_000_000], Letters("fast", exact=False), reference, monkeypatch)
    assert reference.encoded == 16_384


def test_an_exact_engine_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Letters("slow")
    found, _, _ = encoded(tmp_path, ["a", "", "b"], Letters("exact"), reference, monkeypatch)
    assert (found.checked, found.empty, reference.encoded) == (0, 1, 0)


def test_eod_stands_behind_each_document_with_ids() -> None:
    ids, lengths = with_eod(flat([[5, 6], [], [7]]), Letters("x"), np.dtype(np.uint16))
    assert ids.tolist() == [5, 6, 0, 7, 0]
    assert lengths.tolist() == [3, 0, 2]
    assert (ids.dtype, lengths.dtype) == (np.uint16, np.int32)


def test_an_id_beyond_the_vocabulary_is_no_token() -> None:
    with pytest.raises(LrpsError, match="gave the id 100, but its vocabulary has 100 tokens"):
        with_eod(flat([[100]]), Letters("x"), np.dtype(np.uint16))


@pytest.mark.parametrize("end", ["bin", "lengths", "unreadable.jsonl", "json"])
def test_a_part_that_lacks_a_file_is_done_again(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded(tmp_path, ["ab"], Letters("x"), Letters("x"), monkeypatch)
    files = PartFiles(tmp_path, "shard-000000")
    (tmp_path / f"shard-000000.{end}").unlink()
    assert files.done("key") is None
