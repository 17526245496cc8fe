"""A TikTokenizer vocabulary as a ``tokenizers`` JSON. The caller compares its ids with tiktoken's before it is used."""

import json
from typing import Any

from megatron_lrps.data.prepare.encoders.encoder import TokenizerSpec
from megatron_lrps.data.prepare.encoders.tiktoken_file import PATTERNS, read_ranks, special_tokens

_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_CHARACTERS = {byte: chr(byte) for byte in _PRINTED} | {
    byte: chr(256 + number) for number, byte in enumerate(byte for byte in range(256) if byte not in _PRINTED)
}
"""Byte -> the character that stands for it in byte-level BPE (openai/gpt-2, encoder.py)."""


def convert(spec: TokenizerSpec) -> str:
    """The JSON; raises RefusedError as ``TiktokenReference``."""
    special, ranks = special_tokens(spec), read_ranks(spec)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    whole: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": token, **flags} for token, number in special.items()],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": PATTERNS[spec.pattern]},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # tiktoken looks a word up before it merges
            "vocab": special | {_text(token): rank + len(special) for rank, token in enumerate(ranks)},
            "merges": _merges(ranks),
        },
    }
    return json.dumps(whole, ensure_ascii=False)


def _text(token: bytes) -> str:
    return "".join(_CHARACTERS[byte] for byte in token)


def _merges(ranks: list[bytes]) -> list[list[str]]:
    """Every way to make a token of two others, by its rank: tiktoken merges whichever pair has the lowest."""
    known = {token: rank for rank, token in enumerate(ranks)}
    found = []
    for token, rank in known.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in known and right in known:
                found.append((rank, known[left], known[right], left, right))
    return [[_text(left), _text(right)] for *_, left, right in sorted(found)]
