"""Indexes of a few letters, as `lrps prepare` and the quick start write them."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from megatron_lrps.data.index_writer import write_index
from megatron_lrps.data.prepare.encode import dtype_of, with_eod
from megatron_lrps.data.prepare.encoders.encoder import flat

EOD = 0


def letters(text: str) -> list[int]:
    """a is 1, b is 2, ..., and any other character is its code point."""
    return [ord(c) - 96 if "a" <= c <= "z" else ord(c) for c in text]


def write(prefix: Path, documents: Sequence[str], vocab_size: int = 100) -> None:
    """Each document is a block of its own."""
    encoder: Any = SimpleNamespace(vocab_size=vocab_size, eod=EOD)
    dtype = dtype_of(encoder)
    blocks = [with_eod(flat([letters(text)]), encoder, dtype) for text in documents]
    write_index(prefix, (ids.tobytes() for ids, _ in blocks), lambda: (lengths for _, lengths in blocks), dtype)
