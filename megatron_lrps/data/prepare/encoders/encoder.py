"""The interface of encoders, and the description of a tokenizer that worker processes get."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """A tokenizer, as it is given to spawned workers. ``spec_of`` makes it from a plan.

    Attributes:
        type: Megatron's name (``--tokenizer-type``), one of ``SUPPORTED``.
        model: The file, or for HuggingFaceTokenizer the folder.
        vocab_size: The plan's number; None leaves it to the model.
        eod: The id that Megatron's HuggingFaceTokenizer or NullTokenizer reports; None for other types.
        pattern: TikTokenizer's split pattern, v1 or v2.
        num_special_tokens: TikTokenizer's ids below the vocabulary's.
        special_tokens: TikTokenizer's named special tokens, in the order of their ids; empty for Megatron's own.
        wrapped: For HuggingFaceTokenizer, whether ids hold the BOS and EOS tokens that the folder asks for.
        backend: For HuggingFaceTokenizer, the ``tokenizers`` JSON that transformers made from the folder.
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
        ids: The ids of all documents, one after the other; integers [tokens].
        lengths: The number of ids of each document; int64 [documents].
    """

    ids: NDArray[Any]
    lengths: NDArray[np.int64]

    def lists(self) -> list[list[int]]:
        """Return the ids of each document."""
        ends = np.cumsum(self.lengths)
        return [self.ids[end - length : end].tolist() for end, length in zip(ends, self.lengths, strict=True)]


class Encoder(Protocol):
    """The encoder of text to ids, with the vocabulary size and EOD of Megatron's tokenizer of the same type.

    Attributes:
        vocab_size: Tokens in the vocabulary. It decides between uint16 and int32 in the ``.bin``.
        eod: The id that ends a document.
        engine: The library that encodes, with its version, and why a faster one was refused.
        exact: False if ids have to be compared with the reference's on a sample of every shard.
    """

    vocab_size: int
    eod: int
    engine: str
    exact: bool

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the ids of each text. Only the calling thread is used."""
        ...


def batches(texts: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Yield the texts in lists of so many ``characters`` together, or one text more."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= characters or len(batch) >= characters // 16:  # empty documents take memory too
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def joined(arrays: Sequence[NDArray[Any]]) -> Encoded:
    """Join the arrays of ids, one per document, into one."""
    lengths = np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))
    return Encoded(np.concatenate(arrays) if arrays else np.empty(0, np.int32), lengths)


def flat(lists: Sequence[Sequence[int]]) -> Encoded:
    """Join lists of ids into one array."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    ids = np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=int(lengths.sum()))
    return Encoded(ids, lengths)
