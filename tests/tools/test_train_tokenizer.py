"""tools/train_tokenizer.py, as people call it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from tests.data.prepare.tokenizers_of import TEXTS

TOOL = Path(__file__).parents[2] / "tools" / "train_tokenizer.py"


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    file = tmp_path / "with [brackets] and blanks.jsonl"
    file.write_text("".join(json.dumps({"content": text}) + "\n" for text in TEXTS))
    return file


@pytest.mark.parametrize("kind", ["bpe", "unigram", "bytelevel"])
def test_each_kind(kind: str, jsonl: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text("plain text\n" * 100)
    model = tmp_path / "model"
    inputs = ["--input", jsonl, f"{tmp_path}/**/*.txt"]
    ended = call(*inputs, "--json-key", "content", "--model-type", kind, "--vocab-size", "400", "--output", model)
    assert ended.returncode == 0, ended.stderr
    assert f"{model}: 400 tokens from 4 documents" in ended.stdout
    assert f"sha256 {tokenizer_fingerprint(model)}" in ended.stdout
    assert model.is_dir() is (kind == "bytelevel")


def test_refusals(jsonl: Path, tmp_path: Path) -> None:
    given = ("--vocab-size", "400", "--output", tmp_path / "model")
    for arguments, says in (
        (("--input", tmp_path / "nowhere*"), "matches none"),
        (("--input", jsonl), "KeyError: 'text'"),  # the field is named content
        (("--input", jsonl, "--json-key", "content", "--model-type", "bytelevel", "--vocab-size", "200"), "of 257"),
    ):
        ended = call(*given, *arguments)
        assert ended.returncode == 78
        assert says in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()
