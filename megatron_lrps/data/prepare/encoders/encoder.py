"""What an encoder is, and which tokenizer it is of, as workers get it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """A tokenizer as spawned workers get it. ``spec_of`` makes it.

    Attributes:
        type: Megatron's name (``--tokenizer-type``), one of ``SUPPORTED``.
        model: The file, or for HuggingFaceTokenizer the folder.
        vocab_size: What the plan says; None leaves it to the model.
        eod: For HuggingFaceTokenizer and NullTokenizer: the id that Megatron's object reports; None otherwise.
        pattern: TikTokenizer's split pattern, v1 or v2.
        num_special_tokens: TikTokenizer's ids below the vocabulary's.
        special_tokens: TikTokenizer's named special tokens, in the order of their ids; empty for Megatron's own.
        wrapped: HuggingFaceTokenizer: whether ids hold the BOS and EOS tokens that the folder asks for.
        backend: HuggingFaceTokenizer: the ``tokenizers`` library's JSON of what transformers made of the folder.
    """

    type: str
    model: Path | None = None
    vocab_size: int | None = None
    eod: int | None = None
    pattern: str = "v2"
    num_special_tokens: int = 1000
    special_tokens: tuple[str, ...] = ()
    wrapped: bool = True
    backend: str = field(default="", repr=False)


class Encoded(NamedTuple):
    """The ids of several documents, without EOD.

    Attributes:
        ids: Integers [tokens], one document's after the other's.
        lengths: int64 [documents], 0 for a document without ids.
    """

    ids: NDArray[Any]
    lengths: NDArray[np.int64]

    def lists(self) -> list[list[int]]:
        """The ids of each document."""
        ends = np.cumsum(self.lengths)
        return [self.ids[end - length : end].tolist() for end, length in zip(ends, self.lengths, strict=True)]


class Encoder(Protocol):
    """Text to ids, vocabulary size and EOD as Megatron's tokenizer of the same type has them.

    Attributes:
        vocab_size: Decides about uint16 or int32 in the ``.bin``.
        eod: The id that ends a document.
        engine: The library that encodes, with its version; where a faster one was refused, why.
        exact: False where ids are to be compared with the reference's on a sample of every shard.
    """

    vocab_size: int
    eod: int
    engine: str
    exact: bool

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, on the calling thread alone."""
        ...


def flat(lists: Sequence[Sequence[int]]) -> Encoded:
    """Lists of ids as one array."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    ids = np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=int(lengths.sum()))
    return Encoded(ids, lengths)
