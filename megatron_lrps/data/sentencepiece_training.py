"""A sentencepiece tokenizer trained on the user's text, for Megatron's ``SentencePieceTokenizer``."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import write_atomic

LONGEST_LINE = 20_000
"""Characters of a line that training reads at once; longer lines are cut."""

_TRAINING_OPTIONS = {
    "byte_fallback": True,
    # Ids must give back the text to the byte: no space put before it, none removed, nothing normalised.
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "normalization_rule_name": "identity",
    # Otherwise an indentation of 8 spaces is 8 tokens: 2.0 characters a token on Python code, not 3.3.
    "allow_whitespace_only_pieces": True,
    "max_sentence_length": 4 * LONGEST_LINE,  # in bytes; longer lines are skipped without a word
    "num_threads": 1,  # written into the model: another number would give another sha256
    "minloglevel": 2,  # errors only, and those are raised
}


@dataclass(frozen=True, kw_only=True)
class TokenizerFacts:
    """What was trained: its vocabulary size without Megatron's padding, and the sha256 of the file."""

    vocab_size: int
    sha256: str


def train_sentencepiece(
    texts: Iterable[str], model_path: Path, *, vocab_size: int, algorithm: str = "bpe"
) -> TokenizerFacts:
    """Train a model with byte fallback; the same texts give the same bytes.

    Its ids give a text back to the byte, but for U+2581, which stands for a space in all of sentencepiece.

    Args:
        texts: What to train on; about 4 MB are enough for a vocabulary of 4k, and take 1-2 s.
        model_path: The file to write.
        vocab_size: Tokens, the 256 bytes and ``<unk> <s> </s>`` (ids 0, 1, 2; ``</s>`` is EOD) included.
        algorithm: ``bpe`` or ``unigram``.

    Raises:
        RefusedError: sentencepiece is not installed, or the texts cannot give ``vocab_size`` tokens.
        StorageError: The file could not be written; what was there before is intact.
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
    """The library's ``SentencePieceProcessor`` of a model file; raises RefusedError where it is none."""
    library = _sentencepiece()
    try:
        return library.SentencePieceProcessor(model_file=str(model_path))
    except (OSError, RuntimeError) as error:
        raise RefusedError(
            f"{model_path} is no sentencepiece model: {error}.", "Name another in tokenizer.model."
        ) from error


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ModuleNotFoundError as error:
        raise RefusedError("The Python package sentencepiece is not installed.", "pip install sentencepiece") from error
    return sentencepiece


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Non-blank lines. Training sees no line feed, so no piece holds one: it is the byte token ``<0x0A>``."""
    for text in texts:
        for line in text.split("\n"):
            if line.strip():
                yield from (line[begin : begin + LONGEST_LINE] for begin in range(0, len(line), LONGEST_LINE))
