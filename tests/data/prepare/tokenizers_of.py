"""Small tokenizers of every kind, as people have them, made from the standard library's text."""

import argparse
import ast
import base64
import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from megatron_lrps.data.prepare.train_tokenizer import train_tokenizer
from megatron_lrps.data.sentencepiece_training import train_sentencepiece
from megatron_lrps.plan.keys.tokenizers import Tokenizer

TEXTS = [Path(str(module.__file__)).read_text() for module in (argparse, ast, statistics)]

HARD = [
    "",
    " ",
    "\n",
    "\n\n\n",
    " leading,  double and trailing  ",
    "\ttab\t\tand\r\nCRLF\r\n\r\n\rCR",
    "        return x\n\n\n    y = [1, 22, 333, 4444]\n",
    "a\0b \x01\x1c\x7f\x85",
    "café cafe\u0301 e\u0301\u0301 ﬁ ½ ① İı ß ǅ ſ's",
    "漢字かな한국어 العربية ٣٤ ४५",
    "\U0001f469\u200d\U0001f680\U0001f600 \U0010ffff\ue000",
    "\u00a0\u3000\u2028\u2029\ufeff\u200b▁",
    "<|endoftext|> a<|endoftext|>b <|endof",
    "<s> </s> <unk> <pad><SPECIAL_7> <0x0A> <|im_start|>user",
    "don't I'LL 'tis O'Neil",
    "word " * 5000,
    "x" * 20_000,
    "the first line\n" * 2000,
    *TEXTS,
]
"""Texts on which tokenizers have been wrong."""


def sentencepiece_bpe(folder: Path) -> dict[str, Any]:
    train_sentencepiece(TEXTS, folder / "m.model", vocab_size=600)
    return {"model": str(folder / "m.model")}


def sentencepiece_unigram(folder: Path) -> dict[str, Any]:
    train_sentencepiece(TEXTS, folder / "m.model", vocab_size=600, algorithm="unigram")
    return {"model": str(folder / "m.model")}


def sentencepiece_llama(folder: Path) -> dict[str, Any]:
    """A space before every text, and a piece that reaches across a line feed: texts may not be cut there."""
    other = {"model_type": "bpe", "byte_fallback": True, "user_defined_symbols": ["<|im_start|>", "\n    "]}
    return {"type": "Llama2Tokenizer", "model": _foreign(folder, normalization_rule_name="identity", **other)}


def sentencepiece_normalizing(folder: Path) -> dict[str, Any]:
    """The library's defaults: NFKC, blanks removed, unknown characters as <unk>."""
    return {"type": "GPTSentencePieceTokenizer", "model": _foreign(folder, model_type="unigram")}


def huggingface(folder: Path) -> dict[str, Any]:
    plan = {"type": "huggingface", "model": str(folder / "hf")}
    training = {"algorithm": "bpe", "vocab_size": 600}
    train_tokenizer(Tokenizer.model_validate({**plan, "train": training}), TEXTS, folder / "hf")
    return plan


def huggingface_bos(folder: Path) -> dict[str, Any]:
    """As Llama 3: BOS before every text, more special tokens, and one that the plan adds."""

    def change(tokenizer: dict[str, Any]) -> None:
        tokenizer["normalizer"] = {"type": "NFC"}
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        tokenizer["added_tokens"].append({"id": 600, "content": "<|im_start|>", "special": True, **flags})
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [600], "tokens": ["<|im_start|>"]}},
        }

    return {**changed(huggingface(folder), change), "special_tokens": ["<unk>"]}


def huggingface_digits(folder: Path) -> dict[str, Any]:
    """A pre-tokenizer that gigatoken does not have."""

    def change(tokenizer: dict[str, Any]) -> None:
        tokenizer["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        }

    return changed(huggingface(folder), change)


def tiktoken_v1(folder: Path) -> dict[str, Any]:
    return {**tiktoken_v2(folder), "pattern": "v1", "num_special_tokens": 10, "vocab_size": 500}


def tiktoken_v2(folder: Path) -> dict[str, Any]:
    tokenizer = json.loads(Path(huggingface(folder)["model"], "tokenizer.json").read_text())
    alphabet = _byte_alphabet()
    tokens = [bytes(alphabet[letter] for letter in token) for token in tokenizer["model"]["vocab"] if token[0] != "<"]
    longer = sorted({token for token in tokens if len(token) > 1}, key=tokens.index)
    return {
        "type": "tiktoken",
        "model": write_ranks(folder / "vocabulary.json", [*(bytes([byte]) for byte in range(256)), *longer]),
        "vocab_size": 1500,
        "num_special_tokens": 1500 - 256 - len(longer),
    }


def null(folder: Path) -> dict[str, Any]:
    return {"type": "null", "vocab_size": 70_000}


def write_ranks(file: Path, tokens: list[bytes]) -> str:
    """A vocabulary file in the format of Megatron's TikTokenizer."""
    encoded = [base64.b64encode(token).decode() for token in tokens]
    entries = [{"rank": rank, "token_bytes": token, "token_str": None} for rank, token in enumerate(encoded)]
    file.write_text(json.dumps(entries))
    return str(file)


def changed(plan: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The plan's folder with ``change`` made in its tokenizer.json."""
    file = Path(plan["model"], "tokenizer.json")
    tokenizer = json.loads(file.read_text())
    change(tokenizer)
    file.write_text(json.dumps(tokenizer))
    return plan


def only_json(plan: dict[str, Any], **config: str) -> dict[str, Any]:
    """The plan's folder with nothing but tokenizer.json and, where given, a tokenizer_config.json."""
    folder = Path(plan["model"])
    bare = folder.with_name("bare")
    bare.mkdir()
    shutil.copy(folder / "tokenizer.json", bare)
    if config:
        (bare / "tokenizer_config.json").write_text(json.dumps(config))
    return {**plan, "model": str(bare)}


def _foreign(folder: Path, **options: Any) -> str:
    from sentencepiece import SentencePieceTrainer

    with (folder / "m.model").open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=(line for text in TEXTS for line in text.split("\n") if line.strip()),
            model_writer=file,
            vocab_size=600,
            num_threads=1,
            minloglevel=2,
            **options,
        )
    return str(folder / "m.model")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's table, the other way round: the letters that byte-level BPE writes bytes as -> the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
