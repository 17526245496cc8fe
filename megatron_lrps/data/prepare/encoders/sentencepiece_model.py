"""Encodes with a sentencepiece model and its own library."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from megatron_lrps.data.prepare.encoders.encoder import Encoded, flat, joined
from megatron_lrps.data.protobuf import fields
from megatron_lrps.data.sentencepiece_training import load_processor
from megatron_lrps.errors import RefusedError

CUT_LENGTH = 1000
"""Characters: sentencepiece's BPE takes a quarter longer for a text of 10,000 than for its parts."""

_BPE = 2


class SentencePieceModel:
    """The library's ``encode_as_ids`` for several texts at once.

    Args:
        path: The model file.
        cut: Encode long texts in parts, if the model surely gives the same ids for them.

    Raises:
        RefusedError: The file is not a model, or has no end-of-sequence token for EOD.
    """

    exact = True

    def __init__(self, path: Path, *, cut: bool) -> None:
        self._processor = load_processor(path)
        self.vocab_size: int = self._processor.get_piece_size()
        self.eod: int = self._processor.eos_id()
        if self.eod < 0:
            raise RefusedError(
                f"{path} has no end-of-sequence token, and Megatron ends documents with it (id {self.eod}).",
                "Train the model with an eos_id, or use another.",
            )
        self.engine = f"sentencepiece {version('sentencepiece')}"
        self._cut = cut and line_feeds_are_borders(self._processor)
        self._arrays = hasattr(self._processor, "encode_as_numpy")

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the ids of each text. Raises UnicodeEncodeError for a lone surrogate."""
        if not self._cut:
            return self._encode(list(texts))
        cuts = [list(parts(text)) for text in texts]
        ids, lengths = self._encode([part for cut in cuts for part in cut])
        first = np.cumsum([0, *map(len, cuts)])[:-1]
        return Encoded(ids, np.add.reduceat(lengths, first) if cuts else lengths)

    def _encode(self, texts: list[str]) -> Encoded:
        if not self._arrays:
            return flat(self._processor.encode(texts, num_threads=1))
        return joined(self._processor.encode(texts, return_type="numpy", num_threads=1))


def parts(text: str) -> Iterator[str]:
    """Yield parts of at least ``CUT_LENGTH`` characters that end with a line feed. A short text is one part."""
    begin = 0
    while (end := text.find("\n", begin + CUT_LENGTH) + 1) and end < len(text):
        yield text[begin:end]
        begin = end
    yield text[begin:]


def line_feeds_are_borders(processor: Any) -> bool:
    """Whether a text cut behind line feeds has the same ids as the whole text, according to the model file.

    BPE merges neighbours by the score of the pair alone. So the ids are the same if no piece reaches across a line
    feed, if nothing is normalised (a rule could look across), and if nothing is added before a text or removed from
    its ends. Unigram adds up scores along the whole text, so that rounding may decide. Without byte fallback,
    neighbouring unknown characters become one token.
    """
    model = dict(fields(processor.serialized_model_proto()))
    trainer, normalizer = (dict(fields(model.get(number, b""))) for number in (2, 3))
    unchanged = not normalizer.get(2) and normalizer.get(3, 1) == 0 and normalizer.get(4, 1) == 0
    pieces = map(processor.id_to_piece, range(processor.get_piece_size()))
    crossed = any("\n" in piece and piece != "\n" for piece in pieces)
    return trainer.get(3, 1) == _BPE and bool(trainer.get(35, 0)) and unchanged and not crossed
