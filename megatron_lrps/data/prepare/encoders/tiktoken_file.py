"""Encodes with a tiktoken vocabulary file, as Megatron's TikTokenizer does."""

import base64
import binascii
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from megatron_lrps.data.library import library
from megatron_lrps.data.prepare.encoders.encoder import Encoded, TokenizerSpec, joined
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.keys.tokenizers import TIKTOKEN_VOCABULARY

PATTERNS = {
    "v1": r"[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "v2": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""Megatron's splits of a text before BPE (``--tiktoken-pattern``)."""

NAMED_TOKENS = ("<unk>", "<s>", "</s>", "<mask>", "<pad>", "<cls>", "<sep>")
"""Megatron's own special tokens. A plan's ``special_tokens`` must hold them all."""


class TiktokenReference:
    """The ``tiktoken`` library. Special tokens in a text become their ids, as in Megatron.

    Raises:
        RefusedError: The file is not a vocabulary of that format, or is too small for ``vocab_size``.
    """

    exact = True

    def __init__(self, spec: TokenizerSpec) -> None:
        self.special = special_tokens(spec)
        self.ranks = read_ranks(spec)
        self.vocab_size = len(self.ranks) + len(self.special)
        self.eod = self.special["</s>"]
        self.engine = f"tiktoken {version('tiktoken')}"
        self._encoding = library("tiktoken", "Install it: pip install tiktoken").Encoding(
            name="megatron",
            pat_str=PATTERNS[spec.pattern],
            mergeable_ranks={token: rank + len(self.special) for rank, token in enumerate(self.ranks)},
            special_tokens=self.special,
        )

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the ids of each text."""
        return joined([self._encoding.encode_to_numpy(text, allowed_special="all") for text in texts])


def special_tokens(spec: TokenizerSpec) -> dict[str, int]:
    """Return each special token's id: first the named ones, then Megatron's fillers up to ``num_special_tokens``."""
    named = spec.special_tokens or NAMED_TOKENS
    missing = [token for token in NAMED_TOKENS if token not in named]
    if missing or len(set(named)) != len(named) or len(named) > spec.num_special_tokens:
        raise RefusedError(
            f"tokenizer.special_tokens: {len(named)} tokens for {spec.num_special_tokens} places, "
            f"without {', '.join(missing) or 'none'} of Megatron's own.",
            f"Name each token once, {', '.join(NAMED_TOKENS)} among them, or raise num_special_tokens.",
        )
    fillers = [f"<SPECIAL_{number}>" for number in range(len(named), spec.num_special_tokens)]
    return {token: number for number, token in enumerate([*named, *fillers])}


def read_ranks(spec: TokenizerSpec) -> list[bytes]:
    """Return the vocabulary file's tokens by rank, as many as ``vocab_size`` leaves besides the special tokens."""
    path, size = spec.model, spec.vocab_size or TIKTOKEN_VOCABULARY
    assert path is not None
    wanted = size - spec.num_special_tokens
    entries = _entries(path)
    if not 256 <= wanted <= len(entries):
        largest = len(entries) + spec.num_special_tokens
        raise RefusedError(
            f"tokenizer.vocab_size is {size}, but {path} has {len(entries)} tokens and "
            f"{spec.num_special_tokens} special ones stand before them.",
            f"Set tokenizer.vocab_size to at most {largest}.",
        )
    try:
        tokens = [base64.b64decode(entry["token_bytes"], validate=True) for entry in entries[:wanted]]
        in_order = all(entry["rank"] == rank for rank, entry in enumerate(entries[:wanted]))
    except (KeyError, TypeError, binascii.Error):
        tokens, in_order = [], False
    if not in_order or tokens[:256] != [bytes([byte]) for byte in range(256)] or len(set(tokens)) != wanted:
        raise RefusedError(
            f"{path} is not a vocabulary that Megatron's TikTokenizer reads.",
            'Give a list of {"rank": 0, "token_bytes": base64, "token_str": ...} by rank, the 256 bytes first.',
        )
    return tokens


def _entries(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RefusedError(f"{path} is not a JSON vocabulary: {error}.", "Name another in tokenizer.model.") from error
    if path.suffix != ".json" or not isinstance(found, list):
        raise RefusedError(
            f"{path} is not a list in a .json file, which Megatron's TikTokenizer needs.", "Name another file."
        )
    return found
