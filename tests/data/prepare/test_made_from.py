"""An index is known by the content of its text, wherever that is; and what differs is named with both values."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from megatron_lrps.data.prepare import job
from megatron_lrps.data.prepare.find import find_sources
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import load_plan
from tests.data.prepare import tokenizers_of
from tests.data.prepare.jobs import SAID, pair, prepare, write_jsonl, write_plan

TEXTS = [f"document {number} of some text" for number in range(60)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tokenizers_of.sentencepiece_bpe(tmp_path_factory.mktemp("tokenizer"))


def refusal(plan: Path) -> str:
    """Why the index that is there is refused, without folders' names."""
    with pytest.raises(RefusedError) as refused:
        prepare(plan)
    return refused.value.what.replace(f"{plan.parent}/", "").removeprefix("versions.v1.sources.data/a: ")


def were_read() -> bool:
    return any("whose names or times have changed" in line for line in SAID)


def test_times_names_and_folders_do_not_count(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "campaign"
    raw = write_jsonl(folder / "a.jsonl", TEXTS)
    plan = write_plan(folder, tokenizer, {"data/a": "a.jsonl"})
    # Cut, so that its content is known by several hashes.
    (made,) = prepare(plan, shard_bytes=1000)
    before = pair(folder / "data" / "a")

    def again(plan: Path) -> bool:
        (found,) = prepare(plan)
        assert (found.fresh, found.bin_sha256, found.prefix) == (
            False,
            made.bin_sha256,
            str(plan.parent / "data" / "a"),
        )
        assert pair(plan.parent / "data" / "a") == before
        return were_read()

    assert made.shards > 1
    assert not again(plan)
    os.utime(raw, (1, 1))
    assert again(plan)
    assert not again(plan)  # the record has the new time
    raw.rename(folder / "other name.jsonl")
    plan = write_plan(folder, tokenizer, {"data/a": "*.jsonl"})
    assert again(plan)
    moved = shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    shutil.rmtree(folder)
    assert again(moved / "plan.yaml")
    (moved / "data").chmod(0o555)
    os.utime(moved / "other name.jsonl", (2, 2))
    assert again(moved / "plan.yaml")


def test_other_text_is_named(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    raw, more = write_jsonl(tmp_path / "raw" / "a.jsonl", TEXTS), tmp_path / "raw" / "b.jsonl"
    write_jsonl(more, TEXTS)
    plan = write_plan(tmp_path, tokenizer, {"data/a": "raw"})
    prepare(plan)
    content = raw.read_bytes()
    raw.write_bytes(content.replace(b"document 7", b"document 8"))
    os.utime(raw, (1, 1))
    said = "data/a.bin is there, made from other text: the content of raw/a.jsonl has changed since."
    assert refusal(plan) == said
    raw.write_bytes(content + b"\n")
    now = len(content)
    assert f"made from other text: raw/a.jsonl has {now + 1} bytes now, then {now}." in refusal(plan)
    raw.rename(tmp_path / "raw" / "0.jsonl")
    assert f"raw/0.jsonl has {now + 1} bytes now, then raw/a.jsonl, which had {now}." in refusal(plan)
    more.unlink()
    assert "made from other text: of 2 files, and now there are 1." in refusal(plan)
    (tmp_path / "raw" / "0.jsonl").unlink()
    raw.write_bytes(content)
    write_jsonl(more, TEXTS)
    assert [found.fresh for found in prepare(plan)] == [False]
    raw.rename(tmp_path / "raw" / "a.txt")
    more.rename(tmp_path / "raw" / "b.txt")
    plan = write_plan(tmp_path, tokenizer, {"data/a": {"files": "raw", "format": "text"}})
    assert "made from the same files, read as files of another kind" in refusal(plan)


def test_other_options_are_named_with_both_values(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    lines = {"files": "a.txt", "documents": "line"}
    prepare(write_plan(tmp_path, tokenizer, {"data/a": lines}))
    plan = write_plan(tmp_path, tokenizer, {"data/a": {"files": "a.txt", "documents": "paragraph"}})
    assert refusal(plan) == "data/a.bin is there, made with documents 'line' (now 'paragraph')."
    (tmp_path / "other").mkdir()
    other = tokenizers_of.sentencepiece_unigram(tmp_path / "other")
    hashes = [tokenizer_fingerprint(each["model"])[:12] for each in (tokenizer, other)]
    plan = write_plan(tmp_path, other, {"data/a": lines})
    assert f"made with the tokenizer {hashes[0]}... (now {hashes[1]}...)." in refusal(plan)
    copied = Path(shutil.copy(tokenizer["model"], tmp_path / "copied.model"))
    (same,) = prepare(write_plan(tmp_path, {"model": str(copied)}, {"data/a": lines}))
    assert not same.fresh


def test_finished_shards_are_kept_when_text_moves_and_made_again_when_it_changes(
    tokenizer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "campaign"
    raw = write_jsonl(folder / "a.jsonl", TEXTS)
    with raw.open("a") as file:
        file.write("no JSON\n")
    bad = {"files": "*.jsonl", "max_unreadable": 0.0}
    with pytest.raises(RefusedError, match="1 of 61 documents cannot be read"):
        prepare(write_plan(folder, tokenizer, {"data/a": bad}), shard_bytes=1000)
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copyfile))
    (moved / "a.jsonl").rename(moved / "b.jsonl")
    content = (moved / "b.jsonl").read_bytes()
    (moved / "b.jsonl").write_bytes(content.replace(b"document 1 ", b"document 2 "))
    plan = write_plan(moved, tokenizer, {"data/a": {**bad, "max_unreadable": 0.5}})
    (found,) = prepare(plan, shard_bytes=1000)
    assert were_read()
    assert f"{found.shards - 1} of {found.shards} shards are there already." in SAID
    listed = json.loads((moved / "data" / "a.unreadable.jsonl").read_text())
    assert (listed["line"], Path(listed["file"]).name) == (61, "b.jsonl")
    prepare(write_plan(moved, tokenizer, {"data/b": {**bad, "max_unreadable": 0.5}}))
    assert pair(moved / "data" / "a") == pair(moved / "data" / "b")
    monkeypatch.setattr(job, "encode_all", None)  # nothing is encoded once more
    os.utime(raw, (1, 1))
    (kept,) = prepare(write_plan(folder, tokenizer, {"data/a": {**bad, "max_unreadable": 0.5}}), shard_bytes=1000)
    assert kept.documents == 60
    assert kept.sources[0]["hashes"][-1][1] == raw.stat().st_size
    assert kept.sources[0]["mtime_ns"] == 10**9


def as_before_hashes_were_kept(plan: Path, model: str, **other: Any) -> None:
    """The record of the plan's one index as it was written before: one key of options, names and times."""
    (source,) = find_sources(load_plan(plan))
    backend = hashlib.sha256(b"").hexdigest()
    made_from = {
        "format": 1,
        "pieces": [(str(file.path), file.kind, file.bytes, file.mtime_ns, 0, None) for file in source.files],
        "field": source.field,
        "documents": source.documents,
        "tokenizer": [tokenizer_fingerprint(model), "SentencePieceTokenizer", None, None, "v2", 1000],
        "wrapping": [(), True, backend],
    }
    file = Path(f"{source.prefix}.prepared.json")
    record = json.loads(file.read_text())
    for key in ("options", "remarks"):
        record.pop(key, None)
    record["sources"] = [
        {"file": str(each.path), "bytes": each.bytes, "mtime_ns": each.mtime_ns} for each in source.files
    ]
    record["key"] = hashlib.sha256(json.dumps({**made_from, **other}).encode()).hexdigest()
    file.write_text(json.dumps(record))


def test_an_old_record_is_accepted_or_told_from_other_text(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    raw = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    plan = write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"})
    prepare(plan)
    as_before_hashes_were_kept(plan, tokenizer["model"])
    (found,) = prepare(plan)
    assert (found.fresh, found.options, found.remarks) == (False, {}, {})
    before = raw.stat()
    os.utime(raw, (1, 1))
    with pytest.raises(RefusedError) as refused:
        prepare(plan)
    assert "whether they hold the same text cannot be told" in refused.value.what
    assert "from other text" not in refused.value.what
    assert "If `bin_sha256` is the same in both records, the text is the same" in refused.value.fix
    os.utime(raw, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not prepare(plan)[0].fresh
    as_before_hashes_were_kept(plan, tokenizer["model"], field="body")
    assert refusal(plan) == "data/a.bin is there, made by other options."
    write_jsonl(raw, TEXTS[1:])
    assert "made from other text: a.jsonl has" in refusal(plan)
