"""Megatron's NullTokenizer: the text is the ids themselves, as numbers with one space between two."""

from collections.abc import Sequence

from megatron_lrps.data.prepare.encoders.encoder import Encoded, flat
from megatron_lrps.errors import RefusedError


class NullEncoder:
    """Numbers to ids.

    Args:
        vocab_size: Ids are below it.
        eod: The id that ends a document.
    """

    exact = True
    engine = "numbers"

    def __init__(self, vocab_size: int, eod: int) -> None:
        self.vocab_size = vocab_size
        self.eod = eod

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text; raises RefusedError for a text that is not made of ids."""
        return flat([self._ids(text) for text in texts])

    def _ids(self, text: str) -> list[int]:
        try:
            ids = [int(number) for number in text.split(" ")] if text else []
        except ValueError:
            ids = [-1]
        if any(not 0 <= token < self.vocab_size for token in ids):
            raise RefusedError(
                f"The null tokenizer reads ids below {self.vocab_size} with one space between two, not {text[:40]!r}.",
                "Fix the text, or choose another tokenizer.type.",
            )
        return ids
