"""The number of tokens of a plan's tokenizer, from its file alone. No tokenizer library is imported."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_lrps.data.protobuf import fields
from megatron_lrps.plan.keys.tokenizers import Tokenizer
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.vocabulary import Vocabulary, vocabulary_by_plan

_PIECES = 1
"""The field of a sentencepiece model that holds a token (sentencepiece_model.proto)."""


def vocabulary_of(plan: Plan) -> Vocabulary:
    """Return the rows of the plan's embeddings, from its tokenizer's file if that exists."""
    return vocabulary_by_plan(plan, _tokens(plan))


def _tokens(plan: Plan) -> int | None:
    """Return the file's tokens; None if there is no file, it cannot be read, or the plan's own number counts."""
    tokenizer = plan.tokenizer
    if tokenizer is None or tokenizer.model is None or tokenizer.megatron_type in ("NullTokenizer", "TikTokenizer"):
        return None
    model = tokenizer.model
    try:
        if tokenizer.megatron_type == "HuggingFaceTokenizer":
            return _of_folder(model, tokenizer) or None
        return sum(number == _PIECES for number, _ in fields(model.read_bytes())) or None
    except (OSError, ValueError, LookupError, TypeError):
        return None  # a run says what is wrong with it


def _of_folder(folder: Path, tokenizer: Tokenizer) -> int:
    """Count the vocabulary and the added tokens. The merges, which are most of the file, are not read."""
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    tokens = set(tokenizer.special_tokens or ())
    for key in ("vocab", "added_tokens"):
        for entry in _value_of(text, key):
            tokens.add(entry if isinstance(entry, str) else entry["content"] if key == "added_tokens" else entry[0])
    return len(tokens)


def _value_of(text: str, key: str) -> Iterator[Any]:
    """Return the items of the first list or mapping under the key. Inside a token the quotes would be escaped."""
    found = re.search(rf'"{key}"\s*:\s*', text)
    return iter(json.JSONDecoder().raw_decode(text, found.end())[0] or () if found else ())
