"""The plan's `tokenizer`: Megatron's flags of each type, and how one is trained."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.keys.tokenizers import TokenizerTraining
from tests.plan.plans import BASE, assert_one_clear_line, plan_of, tree_of

FLAGS = (
    "tokenizer-type",
    "tokenizer-model",
    "vocab-size",
    "tiktoken-pattern",
    "tiktoken-num-special-tokens",
    "tokenizer-special-tokens",
)


def flags_of(**tokenizer: Any) -> dict[str, Any]:
    tree = tree_of(tokenizer=tokenizer)
    return {flag: value for flag, value in path_flags(tree, tree.paths[0]).items() if flag in FLAGS}


def test_a_tiktoken_files_flags() -> None:
    assert flags_of(
        type="tiktoken",
        model="v.json",
        vocab_size="128K",
        pattern="v1",
        num_special_tokens=2,
        special_tokens=["a", "b"],
    ) == {
        "tokenizer-type": "TikTokenizer",
        "tokenizer-model": str(BASE / "v.json"),
        "vocab-size": 128_000,
        "tiktoken-pattern": "v1",
        "tiktoken-num-special-tokens": 2,
        "tokenizer-special-tokens": ["a", "b"],
    }


def test_what_is_not_given_is_no_flag() -> None:
    assert flags_of(model="m") == {"tokenizer-type": "SentencePieceTokenizer", "tokenizer-model": str(BASE / "m")}
    assert flags_of(type="huggingface", model="m", special_tokens=[]) == {
        "tokenizer-type": "HuggingFaceTokenizer",
        "tokenizer-model": str(BASE / "m"),
    }


def test_training_is_no_flag() -> None:
    training = {"algorithm": "unigram", "vocab_size": "16K", "megabytes": 5}
    assert flags_of(model="m", train=training) == flags_of(model="m")
    tokenizer = plan_of(tokenizer={"model": "m", "train": training}).tokenizer
    assert tokenizer
    assert tokenizer.train == TokenizerTraining(algorithm="unigram", vocab_size=16_000, megabytes=5)
    assert TokenizerTraining(vocab_size=300) == TokenizerTraining(algorithm="bpe", vocab_size=300, megabytes=50)


@pytest.mark.parametrize(
    ("tokenizer", "says"),
    [
        ({"type": "huggingface", "model": "m", "pattern": "v1"}, "pattern is given, but HuggingFaceTokenizer has none"),
        ({"model": "m", "num_special_tokens": 9}, "num_special_tokens is given, but SentencePieceTokenizer has none"),
        ({"model": "m", "special_tokens": ["a"]}, "special_tokens is given, but SentencePieceTokenizer has none"),
        ({"type": "tiktoken", "model": "m", "pattern": "v3"}, "pattern"),
        ({"type": "tiktoken", "model": "m", "train": {"vocab_size": 300}}, "tiktoken is not trained here"),
        ({"type": "null", "train": {"vocab_size": 300}}, "null is not trained here"),
        ({"train": {"vocab_size": 300}}, "without `model`"),
        ({"model": "m", "train": {}}, "tokenizer.train.vocab_size"),
        ({"model": "m", "train": {"vocab_size": 300, "algorithm": "wordpiece"}}, "tokenizer.train.algorithm"),
        ({"model": "m", "vocab_size": 400, "train": {"vocab_size": 300}}, "400 is not train.vocab_size 300"),
        (
            {"type": "huggingface", "model": "m", "train": {"vocab_size": 300, "algorithm": "unigram"}},
            "gets a byte-level bpe",
        ),
    ],
)
def test_what_does_not_go_together(tokenizer: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan_of(tokenizer=tokenizer)
    assert_one_clear_line(caught.value, says)


@pytest.mark.parametrize("flag", ["tiktoken-pattern", "tiktoken-num-special-tokens", "tokenizer-special-tokens"])
def test_the_plan_decides_what_ids_mean(flag: str) -> None:
    tree = tree_of(megatron={flag: "v1"})
    with pytest.raises(PlanError, match=f"megatron.{flag}: 'v1' is given, but the plan's tokenizer"):
        path_flags(tree, tree.paths[0])
