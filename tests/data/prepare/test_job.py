"""`lrps prepare` from raw text to .bin and .idx, byte for byte as Megatron's tool, and what it refuses."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from megatron_lrps.data.index_reader import index_facts
from megatron_lrps.errors import LrpsError, PlanError, RefusedError
from megatron_lrps.versions.owner import acquire
from tests.data.prepare import jobs, tokenizers_of
from tests.data.prepare.jobs import SAID, as_megatrons_tool, command, left_in, pair, prepare, write_jsonl, write_plan
from tests.data.prepare.tokenizers_of import HARD, TEXTS

PARTS = [text[begin : begin + 3000] for text in TEXTS for begin in range(0, len(text), 3000)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tokenizers_of.huggingface(tmp_path_factory.mktemp("tokenizer"))


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
    texts = [*HARD, *PARTS[:20]]
    sources = {"data/jsonl": "raw/a.jsonl", **write_all_formats(tmp_path, texts)}
    found = prepare(write_plan(tmp_path, tokenizer, sources), shard_bytes=30_000)
    assert {index.documents for index in found} == {len(texts)}
    expected = pair(tmp_path / "data" / "jsonl")
    assert [name for name in sources if pair(tmp_path / name) != expected] == []


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ("file", [b"a b\n\nc\n \nd\r\n"]),
        ("line", [b"a b", b"c", b"d\r"]),
        ("paragraph", [b"a b", b"c", b"d\r"]),
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
    assert any("7 documents cannot be read; they are listed in" in line for line in SAID)
    assert not (tmp_path / "data" / "good.unreadable.jsonl").exists()


def test_more_unreadable_documents_than_allowed_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    write_mixed(tmp_path)
    plan = write_plan(tmp_path, tokenizer, {"data/a": "raw.jsonl"})
    with pytest.raises(RefusedError) as refused:
        prepare(plan)
    text = str(refused.value)
    assert "versions.v1.sources.data/a: 7 of 14 documents cannot be read (2 malformed JSON, 1 not UTF-8" in text
    assert "more than max_unreadable 0.01: raw.jsonl line 10: malformed JSON; raw.jsonl line 11: not UTF-8" in text
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


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"data/a": "none/*.jsonl"}, "none/*.jsonl names no file of text"),
        ({"data/a": ["a.jsonl", "./a.jsonl"]}, "once more"),
        ({"data/a": "a.csv"}, "a.csv is of no known kind"),
        ({"data/a": "splits"}, "holds several splits"),
        ({"data/a": "order"}, "holds a selection or another order of its rows"),
        ({"data/a": "escape"}, "names files outside of its folder"),
        ({"data/a": {"files": "a.jsonl", "documents": "line"}}, "documents is given, but"),
        ({"data/a": {"files": "a.parquet", "field": "body"}}, "has no column 'body'; it has text"),
    ],
)
def test_what_cannot_be_a_source(sources: dict[str, Any], words: str, tokenizer: Any, tmp_path: Path) -> None:
    import datasets

    write_jsonl(tmp_path / "a.jsonl", ["x"])
    (tmp_path / "a.csv").write_text("text\nx\n")
    rows = datasets.Dataset.from_dict({"text": ["x", "y"]})
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "splits")
    rows.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "order").mkdir()
    (tmp_path / "order" / "state.json").write_text('{"_data_files": [], "_indices_files": [{"filename": "i.arrow"}]}')
    (tmp_path / "escape").mkdir()
    (tmp_path / "escape" / "state.json").write_text('{"_data_files": [{"filename": "../a.arrow"}]}')
    with pytest.raises(RefusedError) as refused:
        prepare(write_plan(tmp_path, tokenizer, sources))
    assert words in str(refused.value)
    assert "versions.v1.sources.data/a" in str(refused.value) or "a.parquet" in str(refused.value)


def test_a_source_belongs_to_an_index_and_an_index_has_one(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["x"])
    plan = write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"}, train=[[1.0, "data/b"]])
    with pytest.raises(PlanError, match=r"sources.data/a is no index of this version's train or valid"):
        prepare(plan)


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


def test_two_jobs_do_not_make_one_index(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", PARTS)
    plan = write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"})
    with acquire(tmp_path / "data" / ".a.prepare", say=print), pytest.raises(RefusedError, match="is being written by"):
        prepare(plan)


SLOW = """
import sys, time
from tests.data.prepare.jobs import prepare
from megatron_lrps.data.prepare import documents
from pathlib import Path
prepare(Path(sys.argv[1]), workers=2, shard_bytes=20_000)
"""


def start(plan: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", SLOW, str(plan)], text=True, stderr=subprocess.PIPE)


def wait_for_parts(folder: Path, process: "subprocess.Popen[str]", count: int) -> None:
    end = time.monotonic() + 60
    while len(list(folder.glob("shard-*.json"))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)


def descendants(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [child for number in map(int, found) for child in (number, *descendants(number))]


def gone(pids: list[int]) -> bool:
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture
def long_plan(tokenizer: dict[str, Any], tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "a.jsonl", PARTS * 20)
    return write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"})


def test_killed_in_the_middle_it_goes_on_and_gives_the_same_bytes(long_plan: Path, tmp_path: Path) -> None:
    work = tmp_path / "data" / ".a.prepare"
    first = start(long_plan)
    wait_for_parts(work, first, 5)
    children = descendants(first.pid)
    first.kill()
    first.wait()
    assert len(children) >= 2
    assert gone(children)
    assert not (tmp_path / "data" / "a.bin").exists()
    kept = len(list(work.glob("shard-*.json")))
    (found,) = prepare(long_plan, workers=2, shard_bytes=20_000)
    assert f"{kept} of {found.shards} shards are there already." in SAID
    resumed = pair(tmp_path / "data" / "a")
    (whole,) = prepare(write_plan(tmp_path, found_tokenizer(long_plan), {"data/b": "a.jsonl"}))
    assert whole.shards == 1
    assert pair(tmp_path / "data" / "b") == resumed
    assert left_in(tmp_path / "data") == [f"{name}.{end}" for name in "ab" for end in ("bin", "idx", "prepared.json")]


def found_tokenizer(plan: Path) -> dict[str, Any]:
    import yaml

    tokenizer: dict[str, Any] = yaml.safe_load(plan.read_text())["tokenizer"]
    return tokenizer


def test_a_killed_worker_is_one_line(long_plan: Path, tmp_path: Path) -> None:
    process = start(long_plan)
    wait_for_parts(tmp_path / "data" / ".a.prepare", process, 3)
    workers = [pid for pid in descendants(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert "A process that encodes was killed" in errors
    prepare(long_plan, workers=2, shard_bytes=20_000)
    assert "shards are there already." in SAID[0]


def test_ctrl_c_stops_with_75(long_plan: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "megatron_lrps.cli", "prepare", str(long_plan), "--workers", "1"]
    process = subprocess.Popen(line, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not list((tmp_path / "data" / ".a.prepare").glob(".shard-*.tmp")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)
    children = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert errors.strip().splitlines()[-1].startswith("lrps: Stopped. Mend: the same command goes on")
    assert "Traceback" not in errors
    assert gone(children)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_keeps_what_is_done(tokenizer: dict[str, Any], tmp_path: Path, disk: Path) -> None:
    raw = write_jsonl(tmp_path / "a.jsonl", PARTS * 10)
    plan = write_plan(tmp_path, tokenizer, {"disk/a": str(raw)})
    with pytest.raises(LrpsError, match="No space left on device") as full:
        prepare(plan, shard_bytes=100_000)
    assert full.value.exit_code == 74
    assert left_in(disk) == [".a.prepare"]
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    (found,) = prepare(plan, shard_bytes=100_000)
    assert "shards are there already." in SAID[0]
    prepare(write_plan(tmp_path, tokenizer, {"data/b": str(raw)}))
    assert pair(disk / "a") == pair(tmp_path / "data" / "b")
    assert found.documents == 10 * len(PARTS)


def test_the_command(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "raw text" / "a b.jsonl", [*PARTS, "", "x"])
    train = {"vocab_size": 500, "megabytes": 1}
    tokenizer = {"type": "sentencepiece", "model": "t/m.model", "train": train}
    plan = write_plan(tmp_path, tokenizer, {"data/a": "raw text"})
    ended = command(plan)
    assert ended.returncode == 0, ended.stderr
    assert "Training a tokenizer of 500 tokens" in ended.stderr
    row = ended.stdout.splitlines()[2].split()
    assert row[:2] == ["data/a", str(len(PARTS) + 2)]
    assert "made" in row
    again = json.loads(command(plan, "--json").stdout)
    assert (again["indexes"][0]["made"], again["indexes"][0]["empty_documents"]) == (False, 1)
    refused = command(plan, "--only", "v9")
    assert refused.returncode == 78
    assert "'v9' is no version or index with `sources`. Mend: name one of" in refused.stderr


def test_no_source_is_refused(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    plan = write_plan(tmp_path, tokenizer, {}, train=[[1.0, "data/a"]])
    with pytest.raises(PlanError, match="none of them has `sources`"):
        jobs.prepare(plan)
