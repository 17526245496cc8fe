"""Tokens of real tokenizers' files, without their libraries; what cannot be known is said to be assumed."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.data.sentencepiece_training import load_processor, train_sentencepiece
from megatron_lrps.data.tokenizer_size import vocabulary_of
from megatron_lrps.plan import Plan, parse_plan
from megatron_lrps.plan.vocabulary import ASSUMED_VOCABULARY, Vocabulary
from tests.plan.plans import PLAN

TEXT = Path(json.__file__).read_text().splitlines() * 2
ROWS = {"make-vocab-size-divisible-by": 1}


def plan(folder: Path, tokenizer: dict[str, Any] | None, **megatron: Any) -> Plan:
    flags = {key.replace("_", "-"): value for key, value in megatron.items()}
    keys = {"tokenizer": tokenizer, "megatron": ROWS | flags}
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items() if value)
    return parse_plan(PLAN + text, base=folder)


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_a_sentencepiece_model(tmp_path: Path, algorithm: str) -> None:
    train_sentencepiece(TEXT, tmp_path / "t.model", vocab_size=401, algorithm=algorithm)
    assert load_processor(tmp_path / "t.model").get_piece_size() == 401
    assert vocabulary_of(plan(tmp_path, {"model": "t.model"})) == Vocabulary(401)
    # The file counts, not what the plan would make where it were not there.
    assert vocabulary_of(plan(tmp_path, {"model": "t.model", "train": {"vocab_size": 500}})) == Vocabulary(401)
    (tmp_path / "t.model").unlink()
    assert vocabulary_of(plan(tmp_path, {"model": "t.model", "train": {"vocab_size": 500}})) == Vocabulary(500)
    assert vocabulary_of(plan(tmp_path, {"model": "t.model"})) == Vocabulary(ASSUMED_VOCABULARY, assumed=True)


@pytest.mark.parametrize("kind", ["BPE", "WordPiece", "Unigram"])
def test_a_hugging_face_folder(tmp_path: Path, kind: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    special = ["[UNK]", 'a "vocab": { of its own']
    if kind == "Unigram":
        made = tokenizers.Tokenizer(tokenizers.models.Unigram([("[UNK]", 0.0), ("a", -1.0), ("b", -2.0)], unk_id=0))
    else:
        made = tokenizers.Tokenizer(getattr(tokenizers.models, kind)(unk_token="[UNK]"))
        made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        trainer = getattr(tokenizers.trainers, {"BPE": "BpeTrainer"}.get(kind, f"{kind}Trainer"))(
            vocab_size=60, special_tokens=special
        )
        made.train_from_iterator(TEXT, trainer)
    made.add_special_tokens(["<eos>", *special])
    made.save(str(tmp_path / "tokenizer.json"))
    size = made.get_vocab_size(with_added_tokens=True)
    assert vocabulary_of(plan(tmp_path, {"type": "huggingface", "model": "."})) == Vocabulary(size)
    more = {"type": "huggingface", "model": ".", "special_tokens": ["<eos>", "<new>"]}
    assert vocabulary_of(plan(tmp_path, more)) == Vocabulary(size + 1)


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"{}", b"{", b"\n\xff", b'{"added_tokens": [1]}'])
@pytest.mark.parametrize("kind", ["sentencepiece", "huggingface"])
def test_a_file_that_is_none_is_not_counted(tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    model = "." if kind == "huggingface" else "tokenizer.json"
    assert vocabulary_of(plan(tmp_path, {"type": kind, "model": model})).assumed


@pytest.mark.parametrize(
    ("tokenizer", "flags", "expected"),
    [
        ({"type": "null", "vocab_size": 127}, {"make_vocab_size_divisible_by": 128}, Vocabulary(128)),
        ({"type": "null", "vocab_size": 129}, {"make_vocab_size_divisible_by": 128}, Vocabulary(256)),
        (
            {"type": "null", "vocab_size": 129},
            {"make_vocab_size_divisible_by": 64, "tensor_model_parallel_size": 4},
            Vocabulary(256),
        ),
        ({"type": "tiktoken", "model": "v.json"}, {}, Vocabulary(131_072)),
        ({"type": "tiktoken", "model": "v.json", "vocab_size": 100_000}, {}, Vocabulary(100_000)),
        ({"type": "null", "vocab_size": 129}, {"padded_vocab_size": 500}, Vocabulary(500)),
        (None, {"padded_vocab_size": 500}, Vocabulary(500)),
        (None, {}, Vocabulary(ASSUMED_VOCABULARY, assumed=True)),
        ({"type": "huggingface", "model": "nowhere"}, {}, Vocabulary(ASSUMED_VOCABULARY, assumed=True)),
        ({"type": "huggingface", "model": "nowhere", "vocab_size": 50_000}, {}, Vocabulary(50_000)),
    ],
)
def test_what_the_plan_says(
    tmp_path: Path, tokenizer: dict[str, Any] | None, flags: dict[str, Any], expected: Vocabulary
) -> None:
    assert vocabulary_of(plan(tmp_path, tokenizer, **flags)) == expected
