"""A sentencepiece model or a TikTokenizer vocabulary as a ``tokenizers`` JSON.

The caller compares its ids with those of its own library before it is used. transformers can convert a sentencepiece
model itself, but gives other ids for leading spaces and for unigram models.
"""

import base64
import json
import re
import struct
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from megatron_lrps.data.prepare.encoders.encoder import TokenizerSpec
from megatron_lrps.data.prepare.encoders.tiktoken_file import PATTERNS, read_ranks, special_tokens
from megatron_lrps.data.protobuf import fields
from megatron_lrps.data.sentencepiece_training import load_processor
from megatron_lrps.errors import RefusedError

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_UNIGRAM, _BPE = 1, 2
_NEVER = -1e9
"""The score of a unigram piece that must never be used."""
SPACE = "\u2581"
"""The character that sentencepiece writes for a space."""
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_CHARACTERS = {byte: chr(byte) for byte in _PRINTED} | {
    byte: chr(256 + number) for number, byte in enumerate(byte for byte in range(256) if byte not in _PRINTED)
}
"""Byte -> the character that stands for it in byte-level BPE (openai/gpt-2, encoder.py)."""


class _Piece(NamedTuple):
    text: str
    score: float
    kind: int


class SpecialTokens(NamedTuple):
    """The tokens for a document's beginning, its end, and unknown text; None for one that does not exist."""

    bos: str | None
    eos: str | None
    unknown: str | None


def tiktoken_json(spec: TokenizerSpec) -> str:
    """Return the JSON of a TikTokenizer vocabulary; raises RefusedError as ``TiktokenReference``."""
    special, ranks = special_tokens(spec), read_ranks(spec)
    words = {"type": "Split", "pattern": {"Regex": PATTERNS[spec.pattern]}, "behavior": "Isolated", "invert": False}
    known = {token: rank for rank, token in enumerate(ranks)}
    merges = _merges(known, known.__getitem__)
    return _whole(
        [_added(number, token, special=True) for token, number in special.items()],
        normalizer=None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": [words, _BYTE_LEVEL]},
        decoder=_BYTE_LEVEL,
        model=_bpe(
            special | {_text(token): rank + len(special) for rank, token in enumerate(ranks)},
            [(_text(left), _text(right)) for left, right in merges],
            ignore_merges=True,  # tiktoken looks a word up before it merges
        ),
    )


def _text(token: bytes) -> str:
    return "".join(_CHARACTERS[byte] for byte in token)


def sentencepiece_json(path: Path) -> tuple[str, SpecialTokens]:
    """Return the JSON of a sentencepiece model file, and its special tokens.

    Raises:
        RefusedError: it is not a model, or of a kind (word, char, whitespace as suffix) that is not converted.
    """
    processor = load_processor(path)
    parts: dict[int, list[Any]] = defaultdict(list)
    for number, value in fields(processor.serialized_model_proto()):
        parts[number].append(value)
    pieces = [_piece(each) for each in parts[1]]
    trainer, normalizer = (dict(fields(parts[number][-1])) if parts[number] else {} for number in (2, 3))
    kind = trainer.get(3, _UNIGRAM)
    if kind not in (_UNIGRAM, _BPE) or trainer.get(24, 0):
        raise RefusedError(f"{path} is neither a BPE nor a unigram model.", "use a tokenizer of one of those kinds.")
    fallback = bool(trainer.get(35, 0))
    unknown = next((piece.text for piece in pieces if piece.kind == _UNKNOWN), None)
    if kind == _BPE:
        vocab = {piece.text: number for number, piece in enumerate(pieces)}
        normal = {piece.text: number for number, piece in enumerate(pieces) if piece.kind == _NORMAL}
        merges = _merges(normal, lambda text: -pieces[normal[text]].score)
        model = _bpe(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=fallback)
    else:
        model = {
            "type": "Unigram",
            "unk_id": next((number for number, piece in enumerate(pieces) if piece.kind == _UNKNOWN), None),
            "vocab": [[piece.text, piece.score if piece.kind == _NORMAL else _NEVER] for piece in pieces],
            "byte_fallback": fallback,
        }
    whole = _whole(
        [
            _added(number, piece.text, special=special)
            for special, kinds in ((True, (_UNKNOWN, _CONTROL)), (False, (_USER_DEFINED,)))
            for number, piece in enumerate(pieces)
            if piece.kind in kinds
        ],
        normalizer=_normalizer(normalizer),
        pre_tokenizer=_borders(pieces) if kind == _UNIGRAM else None,
        decoder=_decoder(dummy=bool(normalizer.get(3, 1)), fallback=fallback),
        model=model,
    )
    bos, eos = (
        processor.id_to_piece(number) if number >= 0 else None for number in (processor.bos_id(), processor.eos_id())
    )
    return whole, SpecialTokens(bos, eos, unknown)


def _piece(message: bytes) -> _Piece:
    values = dict(fields(message))
    score = struct.unpack("<f", values[2])[0] if 2 in values else 0.0
    return _Piece(values.get(1, b"").decode(), score, values.get(3, _NORMAL))


def _whole(added: list[dict[str, Any]], *, normalizer: Any, pre_tokenizer: Any, decoder: Any, model: Any) -> str:
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }
    return json.dumps(whole, ensure_ascii=False)


def _bpe(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], **own: Any) -> dict[str, Any]:
    """Return a BPE model; ``own`` are its unusual settings."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **own,
        "vocab": vocab,
        "merges": merges,
    }


def _merges[Piece: (str, bytes)](
    known: Mapping[Piece, int], cost: Callable[[Piece], float]
) -> list[tuple[Piece, Piece]]:
    """Return every pair that merges into a piece, the cheapest piece first, as both libraries merge."""
    found: list[tuple[float, int, int, Piece, Piece]] = []
    for piece in known:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in known and right in known:
                found.append((cost(piece), known[left], known[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _borders(pieces: list[_Piece]) -> dict[str, Any] | None:
    """Keep the characters ``<0x41>`` or ``</s>`` of a text from becoming the token of that name.

    A unigram path through such a piece costs less than one through an unknown character, whatever its score. A border
    inside the name changes nothing else if no piece of text reaches across it.
    """
    normal = [piece.text for piece in pieces if piece.kind == _NORMAL]
    names = [piece.text for piece in pieces if piece.kind in (_UNKNOWN, _CONTROL, _BYTE) and len(piece.text) > 1]
    names = [name for name in names if not any(name[:2] in text for text in normal)]
    if not names:
        return None
    within = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in names)
    return {"type": "Split", "pattern": {"Regex": within}, "behavior": "MergedWithPrevious", "invert": False}


def _added(number: int, text: str, *, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": number, "content": text, **flags, "special": special}


def _normalizer(spec: dict[int, Any]) -> dict[str, Any] | None:

    steps: list[dict[str, Any]] = []
    if spec.get(2):
        steps.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(spec[2]).decode()})
    if spec.get(4, 1):  # sentencepiece takes spaces from both ends, and makes one of several
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    if spec.get(3, 1):
        steps.append({"type": "Prepend", "prepend": SPACE})
    if spec.get(5, 1):
        steps.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    return {"type": "Sequence", "normalizers": steps} if steps else None


def _decoder(*, dummy: bool, fallback: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}]
    if fallback:
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    if dummy:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}
