import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.prepare import tokenizers_of
from tests.data.prepare.jobs import as_megatrons_tool, pair, write_jsonl, write_plan
from tests.data.prepare.tokenizers_of import HARD

TOOL = Path(__file__).resolve().parents[2] / "tools" / "preprocess_data.py"


def run(*flags: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, str(TOOL), *flags]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    model = tokenizers_of.sentencepiece_bpe(tmp_path)["model"]
    raw = write_jsonl(tmp_path / "a b.jsonl", HARD)
    named = {"input": str(raw), "output-prefix": str(tmp_path / "web"), "tokenizer-model": model, "workers": "1"}
    pairs = [word for name, value in named.items() for word in (f"--{name}", value)]
    return [*pairs, "--tokenizer-type", "SentencePieceTokenizer", "--append-eod", "--log-interval", "10"]


def test_the_same_bytes_under_the_same_name(flags: list[str], tmp_path: Path) -> None:
    ended = run(*flags)
    assert ended.returncode == 0, ended.stderr
    plan = write_plan(tmp_path, {"model": flags[flags.index("--tokenizer-model") + 1]}, {"x": "a b.jsonl"})
    expected = as_megatrons_tool(plan, tmp_path / "a b.jsonl", tmp_path / "expected")
    assert pair(tmp_path / "web_text_document") == expected
    assert f"web_text_document: {len(HARD)} documents, " in ended.stdout
    assert "was there" in run(*flags).stdout


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--split-sentences"], "--split-sentences is not supported"),
        (["--json-keys", "body"], "documents cannot be read"),
        (["--tokenizer-type", "BertWordPieceLowerCase"], "cannot prepare data"),
        (["--tiktoken-pattern", "v1"], "pattern is given, but SentencePieceTokenizer has none"),
    ],
)
def test_what_is_refused(more: list[str], words: str, flags: list[str]) -> None:
    ended = run(*flags, *more)
    assert (ended.returncode, words in ended.stderr) == (78, True), ended.stderr
    assert "Traceback" not in ended.stderr
