"""Encodes as Megatron's NullTokenizer does: a text is a list of ids, written as numbers with one space between."""

from collections.abc import Sequence

from megatron_lrps.data.prepare.encoders.encoder import Encoded, flat
from megatron_lrps.errors import RefusedError


class NullEncoder:
    """An encoder that reads numbers as ids.

    Args:
        vocab_size: All ids are below this.
        eod: The id that ends a document.
    """

    exact = True
    engine = "numbers"

    def __init__(self, vocab_size: int, eod: int) -> None:
        self.vocab_size = vocab_size
        self.eod = eod

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the ids of each text. Raises RefusedError if a text is not a list of ids."""
        return flat([self._ids(text) for text in texts])

    def _ids(self, text: str) -> list[int]:
        try:
            ids = [int(number) for number in text.split(" ")] if text else []
        except ValueError:
            ids = [-1]
        if any(not 0 <= token < self.vocab_size for token in ids):
            raise RefusedError(
                f"The null tokenizer reads ids below {self.vocab_size} with one space between them, not {text[:40]!r}.",
                "Correct the text, or choose another tokenizer.type.",
            )
        return ids
