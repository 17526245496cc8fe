"""The bytes of text that each token stands for, so that models with different tokenizers can be compared."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_lrps.convert.tokenizers_json import SPACE
from megatron_lrps.data.prepare.encoders.choose import load_reference
from megatron_lrps.data.prepare.encoders.encoder import TokenizerSpec
from megatron_lrps.data.prepare.encoders.spec import SENTENCEPIECE
from megatron_lrps.data.prepare.encoders.tiktoken_file import TiktokenReference
from megatron_lrps.data.sentencepiece_training import load_processor


class ByteCounter:
    """A counter of the UTF-8 bytes that a token stream stands for.

    Special tokens such as the EOD count for nothing. If a sentencepiece model writes a space before each text, that
    space is subtracted at the start of every document. Text that sentencepiece normalised away or had no piece for is
    not in the ids and cannot be counted.
    """

    def __init__(self, lengths: NDArray[np.int64], eod: int, *, prefixed: NDArray[np.bool_] | None = None) -> None:
        self._lengths, self._eod, self._prefixed = lengths, eod, prefixed

    def count(self, tokens: NDArray[Any]) -> int:
        """Return the bytes of all tokens but the first, which no window predicts."""
        total = int(self._lengths[tokens[1:]].sum())
        if self._prefixed is not None:
            total -= int((self._prefixed[tokens[1:]] & (tokens[:-1] == self._eod)).sum())
        return total


def byte_counter(spec: TokenizerSpec) -> ByteCounter | None:
    """Return the counter for a tokenizer; None if its ids do not tell how many bytes they stand for."""
    if spec.model is None:
        return None
    reference = load_reference(spec)
    if spec.type in SENTENCEPIECE:
        return _sentencepiece(spec, reference.eod)
    if isinstance(reference, TiktokenReference):
        lengths = [0] * len(reference.special) + [len(token) for token in reference.ranks]
        return ByteCounter(np.array(lengths), reference.eod)
    return _byte_level(spec.backend, reference.vocab_size, reference.eod)


def _sentencepiece(spec: TokenizerSpec, eod: int) -> ByteCounter:
    assert spec.model is not None
    processor = load_processor(spec.model)
    size = processor.get_piece_size()
    lengths = np.zeros(size, dtype=np.int64)
    spaced = np.zeros(size, dtype=np.bool_)
    for number in range(size):
        if processor.is_control(number) or processor.is_unknown(number):
            continue
        piece = processor.id_to_piece(number)
        lengths[number] = 1 if processor.is_byte(number) else len(piece.replace(SPACE, " ").encode())
        spaced[number] = piece.startswith(SPACE)
    probe = processor.encode("a")
    dummy = bool(probe) and processor.id_to_piece(probe[0]).startswith(SPACE)
    return ByteCounter(lengths, eod, prefixed=spaced if dummy else None)


def _byte_level(backend: str, size: int, eod: int) -> ByteCounter | None:
    """Count each character of a byte-level piece as one byte; None for other Hugging Face tokenizers."""
    whole = json.loads(backend)
    decoder = whole.get("decoder") or {}
    parts = decoder.get("decoders", [decoder])
    if [part.get("type") for part in parts] != ["ByteLevel"] or whole["model"].get("type") != "BPE":
        return None
    lengths = np.zeros(size, dtype=np.int64)
    for piece, number in whole["model"]["vocab"].items():
        lengths[number] = len(piece)
    for token in whole.get("added_tokens", ()):
        lengths[token["id"]] = 0 if token.get("special") else len(token["content"].encode())
    return ByteCounter(lengths, eod)
