"""Tokenizers trained for a plan: the same texts give the same bytes, and what comes out is what others read."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from megatron_lrps.data.prepare.encoders import load_encoder, spec_of
from megatron_lrps.data.prepare.train_tokenizer import TrainedTokenizer, train_tokenizer
from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.plan.keys.tokenizers import Tokenizer
from tests.data.prepare.tokenizers_of import HARD, TEXTS
from tests.plan.plans import plan_of

BYTES = sum(len(text.encode()) for text in TEXTS)


def train(model: Path, *, texts: Any = TEXTS, type: str = "huggingface", **training: Any) -> TrainedTokenizer:
    keys = {"type": type, "model": str(model), "train": {"vocab_size": 400, **training}}
    return train_tokenizer(Tokenizer.model_validate(keys), texts, model)


def test_a_byte_level_folder_is_what_transformers_reads(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path / "deep" / "hf"
    facts = train(folder)
    assert facts == TrainedTokenizer(
        vocab_size=400, sha256=tokenizer_fingerprint(folder), documents=len(TEXTS), text_bytes=BYTES
    )
    assert sorted(file.name for file in folder.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert [file.name for file in folder.parent.iterdir()] == ["hf"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (len(tokenizer), tokenizer.eos_token, tokenizer.eos_token_id) == (400, "<|endoftext|>", 0)
    encoder = load_encoder(spec_of(plan_of(tokenizer={"type": "huggingface", "model": str(folder)})))
    assert encoder.engine.startswith("gigatoken ")
    assert encoder.encode(HARD).lists() == [tokenizer(text).input_ids for text in HARD]
    assert [tokenizer.decode(ids) for ids in encoder.encode(HARD).lists()] == HARD


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    """Hash tables are seeded per process, and must not show."""
    train(tmp_path / "hf")
    code = (
        "import json, pathlib, sys; from megatron_lrps.data.prepare.train_tokenizer import train_tokenizer\n"
        "from megatron_lrps.plan.keys.tokenizers import Tokenizer\n"
        "keys = {'type': 'huggingface', 'model': 'm', 'train': {'vocab_size': 400}}\n"
        "train_tokenizer(Tokenizer.model_validate(keys), json.load(sys.stdin), pathlib.Path(sys.argv[1]))\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "again"], input=json.dumps(TEXTS), text=True, check=True)
    for file in (tmp_path / "hf").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_a_sentencepiece_model(algorithm: str, tmp_path: Path) -> None:
    facts = train(tmp_path / "m.model", type="sentencepiece", algorithm=algorithm)
    assert (facts.vocab_size, facts.sha256) == (400, tokenizer_fingerprint(tmp_path / "m.model"))
    assert load_encoder(spec_of(plan_of(tokenizer={"model": str(tmp_path / "m.model")}))).vocab_size == 400


def test_text_is_read_up_to_the_limit(tmp_path: Path) -> None:
    def texts() -> Iterator[str]:
        yield TEXTS[0] * (2_000_000 // len(TEXTS[0]) + 1)
        raise AssertionError("it has what it needs")

    facts = train(tmp_path / "hf", texts=texts(), megabytes=2)
    assert facts.documents == 1
    assert facts.text_bytes >= 2_000_000


@pytest.mark.parametrize("type", ["huggingface", "sentencepiece"])
def test_what_exists_is_not_overwritten(type: str, tmp_path: Path) -> None:
    model = tmp_path / "m"
    train(model, type=type)
    before = tokenizer_fingerprint(model)
    with pytest.raises(RefusedError, match="exists, and a tokenizer is never overwritten"):
        train(model, type=type, texts=["other text"])
    assert tokenizer_fingerprint(model) == before


def test_an_empty_folder_and_a_killed_runs_left_overs_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / ".hf.tmp").mkdir()
    (tmp_path / ".hf.tmp" / "tokenizer.json").write_text("torn")
    (tmp_path / ".hf.tmp" / "other").write_text("torn")
    train(tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]
    assert len(list((tmp_path / "hf").iterdir())) == 3


@pytest.mark.parametrize(
    ("texts", "vocab_size", "says"),
    [
        (["a few words"], 50_000, "vocabulary of 265 tokens"),  # 256 bytes, EOD, 3 merges for " few", 5 for " words"
        (TEXTS, 200, "vocabulary of 257 tokens"),
        ([], 300, "vocabulary of 257 tokens"),
    ],
)
def test_vocabularies_that_texts_cannot_give(texts: list[str], vocab_size: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=says):
        train(tmp_path / "hf", texts=texts, vocab_size=vocab_size)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        train(tmp_path / "file" / "hf")


def test_a_plan_that_does_not_say_how(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="has no `train`"):
        train_tokenizer(Tokenizer(type="huggingface", model="m"), TEXTS, tmp_path / "m")
