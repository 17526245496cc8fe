"""Which tokenizer, as workers get it, and what an encoder is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.tokenizers import Tokenizer
from megatron_lrps.plan.values import shown

SUPPORTED = (
    "SentencePieceTokenizer",
    "GPTSentencePieceTokenizer",
    "Llama2Tokenizer",
    "HuggingFaceTokenizer",
    "TikTokenizer",
    "NullTokenizer",
)
"""Megatron's names of the types whose ids are reproduced; the first three are one class in Megatron."""

SENTENCEPIECE = SUPPORTED[:3]

NO_SPECIAL_TOKENS = "tokenizer-hf-no-include-special-tokens"
NULL_EOD = "null-tokenizer-eod-id"

REFUSED_FLAGS = (
    "merge-file",
    "tokenizer-hf-no-use-fast",
    "tokenizer-metadata",
    "tokenizer-sentencepiece-ignore-extra-whitespaces",
    "tokenizer-sentencepiece-legacy",
    "trust-remote-code",
    "vocab-file",
)
"""Megatron flags under which its tokenizer gives other ids than are written here, or runs code from the folder."""


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


def spec_of(plan: Plan) -> TokenizerSpec:
    """The plan's tokenizer, for workers.

    Raises:
        RefusedError: There is none, its model is missing, or Megatron would give ids that are not reproduced here.
    """
    tokenizer = plan.tokenizer
    if tokenizer is None:
        raise RefusedError("The plan has no tokenizer.", "Add `tokenizer: {type: sentencepiece, model: FILE}`.")
    kind = tokenizer.megatron_type
    if kind not in SUPPORTED:
        raise RefusedError(
            f"tokenizer.type: {shown(tokenizer.type)} cannot prepare data; the types are {', '.join(SUPPORTED)}.",
            "Choose one of them, or make the .bin and .idx with Megatron's own tool.",
        )
    for flag in REFUSED_FLAGS:
        if plan.megatron.get(flag, False) is not False:
            raise RefusedError(
                f"megatron.{flag}: {shown(plan.megatron[flag])} changes the ids that Megatron's tokenizer gives.",
                "Remove it, or make the .bin and .idx with Megatron's own tool.",
            )
    if kind == "NullTokenizer":
        return _null_spec(plan, tokenizer.vocab_size)
    model = _model(plan, tokenizer)
    if kind == "HuggingFaceTokenizer":
        from megatron_lrps.data.prepare.encoders.huggingface_folder import read_folder

        folder = read_folder(model, tokenizer.special_tokens or ())
        wrapped = plan.megatron.get(NO_SPECIAL_TOKENS, False) is False
        return TokenizerSpec(type=kind, model=model, eod=folder.eod, wrapped=wrapped, backend=folder.backend)
    return TokenizerSpec(
        type=kind,
        model=model,
        vocab_size=tokenizer.vocab_size,
        pattern=tokenizer.pattern or "v2",
        num_special_tokens=tokenizer.num_special_tokens or 1000,
        special_tokens=tokenizer.special_tokens or (),
    )


def flat(lists: Sequence[Sequence[int]]) -> Encoded:
    """Lists of ids as one array."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    ids = np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=int(lengths.sum()))
    return Encoded(ids, lengths)


def _model(plan: Plan, tokenizer: Tokenizer) -> Path:
    kind = tokenizer.megatron_type
    if tokenizer.model is None:
        raise RefusedError(f"tokenizer.model is missing, and {kind} needs it.", "Name its file in the plan.")
    path = tokenizer.model
    if not path.exists():
        mend = "Correct the path, or say under `tokenizer.train` how it is to be trained."
        raise RefusedError(f"tokenizer.model: {path} does not exist.", mend)
    wants_folder = kind == "HuggingFaceTokenizer"
    if wants_folder is not path.is_dir():
        is_now, needs = ("a file", "a folder") if wants_folder else ("a folder", "a file")
        raise RefusedError(f"tokenizer.model: {path} is {is_now}, and {kind} needs {needs}.", "Name that one.")
    return path


def _null_spec(plan: Plan, vocab_size: int | None) -> TokenizerSpec:
    if vocab_size is None:
        raise RefusedError("tokenizer.vocab_size is missing, and a null tokenizer needs it.", "Add it.")
    eod = plan.megatron.get(NULL_EOD, vocab_size - 1)
    if isinstance(eod, bool) or not isinstance(eod, int) or not 0 <= eod < vocab_size:
        raise RefusedError(f"megatron.{NULL_EOD}: {shown(eod)} is no id below vocab_size {vocab_size}.", "Mend it.")
    return TokenizerSpec(type="NullTokenizer", vocab_size=vocab_size, eod=eod)
