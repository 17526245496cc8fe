"""`lrps prepare` from raw text to .bin and .idx, byte for byte as Megatron's tool, and what it refuses."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from megatron_lrps.data.index_reader import index_facts
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.ownership import acquire
from tests.data.prepare import tokenizers_of
from tests.data.prepare.jobs import SAID, as_megatrons_tool, command, left_in, pair, prepare, write_jsonl, write_plan
from tests.data.prepare.tokenizers_of import HARD, TEXTS

PARTS = [text[begin : begin + 3000] for text in TEXTS for begin in range(0, len(text), 3000)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tokenizers_of.sentencepiece_bpe(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("kind", ["huggingface", "sentencepiece_bpe", "sentencepiece_unigram", "tiktoken_v2"])
def test_the_same_bytes_as_megatrons_tool(kind: str, tmp_path: Path) -> None:
    raw = write_jsonl(tmp_path / "raw" / "a.jsonl", [*HARD, *PARTS, ""])
    plan = write_plan(tmp_path, getattr(tokenizers_of, kind)(tmp_path), {"data/a": "raw/a.jsonl"})
    expected = as_megatrons_tool(plan, raw, tmp_path / "expected")
    (found,) = prepare(plan)
    assert pair(tmp_path / "data" / "a") == expected
    assert found.documents == len(HARD) + len(PARTS) + 1
    assert index_facts(tmp_path / "data" / "a").tokens == found.tokens
    assert left_in(tmp_path / "data") == ["a.bin", "a.idx", "a.prepared.json"]


def test_many_shards_and_processes_give_the_same_bytes(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "raw" / "a.jsonl", [*HARD, *PARTS])
    plan = write_plan(tmp_path, tokenizer, {"data/a": "raw/a.jsonl"})
    prepare(plan)
    expected = pair(tmp_path / "data" / "a")
    (again,) = prepare(write_plan(tmp_path, tokenizer, {"data/b": "raw/a.jsonl"}), workers=2, shard_bytes=20_000)
    assert again.shards > 10
    assert pair(tmp_path / "data" / "b") == expected


def write_all_formats(folder: Path, texts: list[str]) -> dict[str, Any]:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as parquet

    jsonl = write_jsonl(folder / "raw" / "a.jsonl", texts)
    content = jsonl.read_bytes()
    (folder / "raw" / "a.jsonl.gz").write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    packed = zstandard.ZstdCompressor().compress
    (folder / "raw" / "a.jsonl.zst").write_bytes(packed(content[:1000]) + packed(content[1000:]))
    column = pa.array(texts)
    parquet.write_table(
        pa.table({"id": range(len(texts)), "body": column}), folder / "raw" / "a.parquet", row_group_size=7
    )
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(folder / "raw" / "saved", num_shards=2)
    (folder / "raw" / "files").mkdir()
    for number, text in enumerate(texts):
        (folder / "raw" / "files" / f"{number:03d}.txt").write_bytes(text.encode())
    return {
        "data/gz": "raw/a.jsonl.gz",
        "data/zst": "raw/a.jsonl.zst",
        "data/parquet": {"files": "raw/a.parquet", "field": "body"},
        "data/saved": "raw/saved",
        "data/files": "raw/files",
    }


def test_every_format_gives_the_same_index(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    # Without CR: plain text has LF alone, and nothing else keeps a text as it is.
    texts = [*(text for text in HARD if "\r" not in text), *PARTS[:20]]
    sources = {"data/jsonl": "raw/a.jsonl", **write_all_formats(tmp_path, texts)}
    found = prepare(write_plan(tmp_path, tokenizer, sources), shard_bytes=30_000)
    assert {index.documents for index in found} == {len(texts)}
    expected = pair(tmp_path / "data" / "jsonl")
    assert [name for name in sources if pair(tmp_path / name) != expected] == []


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ("file", [b"a b\n\nc\n \nd\n"]),
        ("line", [b"a b", b"c", b"d"]),
        ("paragraph", [b"a b", b"c", b"d"]),
    ],
)
def test_what_a_document_is_in_plain_text(
    documents: str, expected: list[bytes], tokenizer: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(b"a b\n\nc\n \nd\r\n")
    write_jsonl(tmp_path / "b.jsonl", [text.decode() for text in expected])
    sources = {"data/a": {"files": "a.txt", "documents": documents}, "data/b": "b.jsonl"}
    prepare(write_plan(tmp_path, tokenizer, sources))
    assert pair(tmp_path / "data" / "a") == pair(tmp_path / "data" / "b")


BAD = {
    b'{"text": "cut off': "malformed JSON",
    b'{"text": "\xff"}': "not UTF-8",
    b'{"body": "x"}': "no such field",
    b'["text"]': "no such field",
    b'{"text": 7}': "the field is no text",
    b'{"text": "\\ud800"}': "a lone surrogate, which UTF-8 cannot write",
    b"[" * 2000: "malformed JSON",
}
GOOD = {
    b"\xef\xbb\xbf" + b'{"text": "after a byte order mark"}': "after a byte order mark",
    b'{"n": NaN, "text": "NaN"}': "NaN",
    b'{"n": %d, "text": "a long integer"}' % 10**30: "a long integer",
    b'{"text": "first", "text": "the last of two counts"}': "the last of two counts",
    b'{"text": "CR LF"}\r': "CR LF",
    b'{"text": "\\u00e9\\ud83d\\ude00"}': "é😀",
    b'{"text": ""}': "",
    b'{"other": "\\ud800", "text": "a lone surrogate elsewhere"}': "a lone surrogate elsewhere",
}


def write_mixed(folder: Path) -> Path:
    """Good lines, then blank ones, then bad ones; the last without a line feed."""
    (folder / "raw.jsonl").write_bytes(b"\n".join([*GOOD, b"", b"  ", *BAD]))
    return write_jsonl(folder / "good.jsonl", GOOD.values())


@pytest.mark.parametrize("shard_bytes", [2**28, 150])
def test_unreadable_documents_are_counted_and_listed(shard_bytes: int, tokenizer: Any, tmp_path: Path) -> None:
    write_mixed(tmp_path)
    sources = {"data/a": {"files": "raw.jsonl", "max_unreadable": 0.5}, "data/good": "good.jsonl"}
    found, good = prepare(write_plan(tmp_path, tokenizer, sources), shard_bytes=shard_bytes)
    assert pair(tmp_path / "data" / "a") == pair(tmp_path / "data" / "good")
    assert (found.documents, found.empty_documents, found.blank_lines) == (len(GOOD), 1, 2)
    assert sum(found.unreadable.values()) == len(BAD)
    assert good.unreadable == {}
    listed = [json.loads(line) for line in (tmp_path / "data" / "a.unreadable.jsonl").read_text().splitlines()]
    first = len(GOOD) + 3
    content = (tmp_path / "raw.jsonl").read_bytes()
    assert [(entry["line"], entry["reason"]) for entry in listed] == list(enumerate(BAD.values(), first))
    assert [content[entry["offset"] :].split(b"\n")[0] for entry in listed] == list(BAD)
    assert any("7 documents cannot be read, listed in" in line for line in SAID)
    assert not (tmp_path / "data" / "good.unreadable.jsonl").exists()


def test_more_unreadable_documents_than_allowed_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    write_mixed(tmp_path)
    plan = write_plan(tmp_path, tokenizer, {"data/a": "raw.jsonl"})
    with pytest.raises(RefusedError) as refused:
        prepare(plan)
    text = str(refused.value)
    assert "versions.v1.sources.data/a: 7 of 15 documents cannot be read (2 malformed JSON, 1 not UTF-8" in text
    assert "more than max_unreadable 0.01: raw.jsonl line 11: malformed JSON; raw.jsonl line 12: not UTF-8" in text
    assert not (tmp_path / "data" / "a.idx").exists()
    assert len((tmp_path / "data" / "a.unreadable.jsonl").read_text().splitlines()) == 7


def torn_files(folder: Path) -> dict[str, bytes]:
    content = write_jsonl(folder / "whole.jsonl", PARTS).read_bytes()
    write_all_formats(folder, PARTS)
    zst, parquet = (folder / "raw" / name for name in ("a.jsonl.zst", "a.parquet"))
    arrow = sorted((folder / "raw" / "saved").glob("*.arrow"))[0]
    return {
        "cut.jsonl.gz": gzip.compress(content)[:-100],
        "cut.jsonl.zst": zst.read_bytes()[:-100],
        "flipped.jsonl.zst": zst.read_bytes()[:5000] + b"XXXX" + zst.read_bytes()[5004:],
        "no.jsonl.gz": b"plain text",
        "empty.jsonl.gz": b"",
        "empty.jsonl.zst": b"",
        "cut.parquet": parquet.read_bytes()[:-100],
        "cut.arrow": arrow.read_bytes()[:-3000],
    }


def test_torn_files_are_refused_by_name(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    wrong = []
    for name, content in torn_files(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        field = "body" if "parquet" in name else "text"
        plan = write_plan(tmp_path, tokenizer, {"data/a": {"files": name, "field": field}})
        with pytest.raises(RefusedError) as refused:
            prepare(plan)
        if f"{name} cannot be read: " not in str(refused.value) or (tmp_path / "data" / "a.idx").exists():
            wrong.append((name, str(refused.value)))
    assert wrong == []


def test_a_zstd_bomb_is_refused_before_it_fills_anything(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    with (tmp_path / "bomb.jsonl.zst").open("wb") as file:
        for _ in range(256):
            file.write(packer.compress(bytes(2**20)))
        file.write(packer.flush())
    assert (tmp_path / "bomb.jsonl.zst").stat().st_size < 50_000
    plan = write_plan(tmp_path, tokenizer, {"data/a": "bomb.jsonl.zst"})
    with pytest.raises(RefusedError, match=r"bomb.jsonl.zst unpacks to more than 2000 times its size"):
        prepare(plan)


def test_a_line_that_never_ends_is_passed_over(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(b'{"text": "before"}\n{"text": "')
        file.writelines(b"x" * 2**20 for _ in range(65))
        file.write(b'"}\n{"text": "after"}\n')
    write_jsonl(tmp_path / "b.jsonl", ["before", "after"])
    sources = {"data/a": {"files": "a.jsonl", "max_unreadable": 0.5}, "data/b": "b.jsonl"}
    found, _ = prepare(write_plan(tmp_path, tokenizer, sources))
    assert found.unreadable == {"longer than 64 MiB": 1}
    assert pair(tmp_path / "data" / "a") == pair(tmp_path / "data" / "b")


def test_what_is_there_is_not_made_again_and_never_overwritten(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    raw = write_jsonl(tmp_path / "a.jsonl", PARTS)
    plan = write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"})
    (made,) = prepare(plan)
    before = pair(tmp_path / "data" / "a")
    (again,) = prepare(plan)
    assert (made.fresh, again.fresh, again.bin_sha256) == (True, False, made.bin_sha256)
    write_jsonl(raw, [*PARTS, "more"])
    with pytest.raises(RefusedError, match=r"data/a\.bin is there, made from other text"):
        prepare(plan)
    assert pair(tmp_path / "data" / "a") == before
    (forced,) = prepare(plan, force=True)
    assert forced.documents == made.documents + 1
    (tmp_path / "data" / "a.prepared.json").unlink()
    with pytest.raises(RefusedError, match=r"data/a\.bin is there, made by something else"):
        prepare(plan)


def test_another_cut_or_limit_makes_no_other_index(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", PARTS)
    (made,) = prepare(write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"}), shard_bytes=20_000)
    (again,) = prepare(write_plan(tmp_path, tokenizer, {"data/a": {"files": "a.jsonl", "max_unreadable": 0.5}}))
    assert (made.shards > 1, made.fresh, again.fresh) == (True, True, False)


def test_a_model_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["x"])
    (tmp_path / "m.model").write_bytes(b"no model")
    plan = write_plan(tmp_path, {"type": "sentencepiece", "model": "m.model"}, {"data/a": "a.jsonl"})
    with pytest.raises(RefusedError, match=r"m\.model is not a sentencepiece model"):
        prepare(plan)


def test_two_jobs_do_not_make_one_index(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", PARTS)
    plan = write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"})
    with acquire(tmp_path / "data" / ".a.prepare", say=print), pytest.raises(RefusedError, match="is being written by"):
        prepare(plan)


def test_the_command(tmp_path: Path) -> None:
    raw = write_jsonl(tmp_path / "raw text" / "a b.jsonl", [*PARTS, *PARTS, "", "x"])
    raw.write_bytes(b"\xef\xbb\xbf" + raw.read_bytes() + b"\n\xef\xbb\xbf" + b'{"text": "caf\xe9"}')
    train = {"vocab_size": 500, "megabytes": 1}
    tokenizer = {"type": "sentencepiece", "model": "t/m.model", "train": train}
    plan = write_plan(tmp_path, tokenizer, {"data/a": "raw text"})
    ended = command(plan)
    assert ended.returncode == 0, ended.stderr
    assert "Training a tokenizer of 500 tokens" in ended.stderr
    row = ended.stdout.splitlines()[2].split()
    assert row[:2] == ["data/a", str(2 * len(PARTS) + 2)]
    remarks = [line for line in ended.stdout.splitlines() if line.startswith("data/a: ")]
    assert remarks == [
        "data/a: 1 document left out: not UTF-8.",
        "data/a: 1 document: byte order mark removed.",
    ]
    assert "made" in row
    assert " MB of text encoded in " in ended.stdout.splitlines()[-1]
    again = json.loads(command(plan, "--json").stdout)
    assert (again["indexes"][0]["made"], again["indexes"][0]["empty_documents"]) == (False, 1)
    assert again["indexes"][0]["remarks"] == {"byte order mark removed": 1}
    assert remarks[0] in command(plan).stdout
    refused = command(plan, "--only", "v9")
    assert refused.returncode == 78
    assert "'v9' is not a version or an index with `sources`. Fix: Name one of" in refused.stderr
