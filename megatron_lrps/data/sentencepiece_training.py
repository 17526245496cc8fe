"""Trains a sentencepiece model on the user's text, for Megatron's ``SentencePieceTokenizer``."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.data.library import library
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import write_atomic

LONGEST_LINE = 20_000
"""Characters of a line that training reads at once. Longer lines are cut."""

_TRAINING_OPTIONS = {
    "byte_fallback": True,
    # Ids must give back the text to the byte: no space is added or removed, and nothing is normalised.
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "normalization_rule_name": "identity",
    # Otherwise an indentation of 8 spaces is 8 tokens: 2.0 characters a token on Python code, not 3.3.
    "allow_whitespace_only_pieces": True,
    "max_sentence_length": 4 * LONGEST_LINE,  # in bytes; longer lines are skipped silently
    "num_threads": 1,  # written into the model: another number would give another sha256
    "minloglevel": 2,  # errors only, and those are raised
}


@dataclass(frozen=True, kw_only=True)
class TokenizerFacts:
    """The vocabulary size of a trained model, without Megatron's padding, and the sha256 of its file."""

    vocab_size: int
    sha256: str


def train_sentencepiece(
    texts: Iterable[str], model_path: Path, *, vocab_size: int, algorithm: str = "bpe"
) -> TokenizerFacts:
    """Train a model with byte fallback. The same texts give the same bytes.

    Its ids give a text back to the byte, except for U+2581, with which sentencepiece writes a space.

    Args:
        texts: The texts to train on. About 4 MB are enough for a vocabulary of 4k, and take 1-2 s.
        model_path: The file to write.
        vocab_size: Tokens, with the 256 bytes and ``<unk> <s> </s>`` (ids 0, 1, 2; ``</s>`` is EOD).
        algorithm: ``bpe`` or ``unigram``.

    Raises:
        RefusedError: sentencepiece is not installed, or the texts cannot give ``vocab_size`` tokens.
        StorageError: The file could not be written. The previous file is intact.
    """
    model = io.BytesIO()
    try:
        _sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=_lines(texts),
            model_writer=model,
            model_type=algorithm,
            vocab_size=vocab_size,
            **_TRAINING_OPTIONS,
        )
    except RuntimeError as error:
        raise RefusedError(
            f"sentencepiece cannot train a vocabulary of {vocab_size} on these texts: {error}",
            "Choose a vocab_size between 300 and what the texts can give, or add text.",
        ) from error
    write_atomic(model_path, model.getvalue())
    return TokenizerFacts(vocab_size=vocab_size, sha256=hashlib.sha256(model.getvalue()).hexdigest())


def load_processor(model_path: Path) -> Any:
    """Load the library's ``SentencePieceProcessor`` of a model file. Raises RefusedError if the file is not a model."""
    library = _sentencepiece()
    try:
        return library.SentencePieceProcessor(model_file=str(model_path))
    except (OSError, RuntimeError) as error:
        raise RefusedError(
            f"{model_path} is not a sentencepiece model: {error}.", "Name another in tokenizer.model."
        ) from error


def _sentencepiece() -> Any:
    return library("sentencepiece", "Install it: pip install sentencepiece")


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Yield non-blank lines. Training sees no line feed, so a line feed becomes the byte token ``<0x0A>``."""
    for text in texts:
        for line in text.split("\n"):
            if line.strip():
                yield from (line[begin : begin + LONGEST_LINE] for begin in range(0, len(line), LONGEST_LINE))
