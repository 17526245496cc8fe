"""Encodes byte-level BPE with gigatoken, some 80 times as fast as the reference libraries, and checks it with them."""

import base64
import os
import tempfile
from collections.abc import Callable, Sequence
from copy import copy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_lrps.data.prepare.encoders.encoder import Encoded, Encoder, TokenizerSpec
from megatron_lrps.data.prepare.encoders.huggingface_folder import TokenizersReference
from megatron_lrps.data.prepare.encoders.tiktoken_file import TiktokenReference
from megatron_lrps.data.prepare.encoders.traps import first_difference, trap_texts

CACHE_BYTES = 256 * 2**20
"""gigatoken remembers every word that it has met, with some 90 bytes each: gigabytes for web text."""


class GigatokenEncoder:
    """gigatoken's ids in the reference's numbering and wrapping.

    Args:
        build: Makes the ``gigatoken.Tokenizer``, anew whenever the words that it remembers fill ``CACHE_BYTES``.
        reference: Provides the vocabulary size and EOD.
        shift: Is added to each id, modulo the vocabulary size.
        around: The ids before and after each document's own.
    """

    exact = False

    def __init__(
        self,
        build: Callable[[], Any],
        reference: Encoder,
        *,
        shift: int = 0,
        around: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ) -> None:
        self._build = build
        self._library = build()
        self._resident = _resident_bytes()
        self._shift = shift
        self._around = around
        self.vocab_size = reference.vocab_size
        self.eod = reference.eod
        self.engine = f"gigatoken {version('gigatoken')}"

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the ids of each text."""
        if not texts:
            return Encoded(np.empty(0, np.uint32), np.empty(0, np.int64))
        layout = self._library.encode_batch(list(texts), parallel=False).layout
        offsets = np.asarray(layout.offsets.data)
        ids = np.asarray(layout.content.data)[offsets[0] : offsets[-1]]
        if _resident_bytes() - self._resident > CACHE_BYTES:
            self._library = None  # before there is a second one
            self._library = self._build()
            self._resident = _resident_bytes()
        if self._shift:
            ids = (ids + np.uint32(self._shift)) % np.uint32(self.vocab_size)
        return _wrap(Encoded(ids, np.diff(offsets).astype(np.int64, copy=False)), *self._around)


def fast_huggingface(spec: TokenizerSpec, reference: TokenizersReference) -> Encoder:
    """Load gigatoken for a Hugging Face folder if it gives the reference's ids, else the reference with the reason."""

    def build(gigatoken: Any) -> GigatokenEncoder:
        if not isinstance(gigatoken.Tokenizer.from_json(spec.backend).backend, gigatoken.gigatoken_rs.BPETokenizer):
            raise ValueError("it is no byte-level BPE")
        if reference.matches_words():
            raise ValueError("it has added tokens that match whole words alone")
        return GigatokenEncoder(
            lambda: gigatoken.Tokenizer.from_json(spec.backend), reference, around=reference.around()
        )

    return _checked(build, reference, reference.tokens())


def fast_tiktoken(spec: TokenizerSpec, reference: TiktokenReference) -> Encoder:
    """Load gigatoken for Megatron's v2 pattern if it gives tiktoken's ids, else tiktoken with the reason."""

    def build(gigatoken: Any) -> GigatokenEncoder:
        if spec.pattern != "v2":
            raise ValueError(f"it has no pattern {spec.pattern}")
        # gigatoken's ranks begin at 0 and special tokens follow them; in Megatron special tokens come first.
        behind = {token: number + len(reference.ranks) for token, number in reference.special.items()}

        def from_ranks() -> Any:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "ranks.tiktoken")
                lines = (base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(reference.ranks))
                file.write_bytes(b"".join(lines))
                return gigatoken.Tokenizer.from_tiktoken(file, "nemotron", behind)

        return GigatokenEncoder(from_ranks, reference, shift=len(reference.special))

    tokens = [*reference.special, *(token.decode(errors="ignore") for token in reference.ranks)]
    return _checked(build, reference, tokens)


def _checked(build: Callable[[Any], Encoder], reference: Encoder, tokens: Sequence[str]) -> Encoder:
    """Return the encoder that ``build`` makes, if it gives the reference's ids for traps and the vocabulary."""
    try:
        import gigatoken

        fast = build(gigatoken)
    except BaseException as error:  # a panic of its Rust code is not an Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = str(error).splitlines()[0]
    else:
        texts = list(trap_texts(tokens))
        if (differing := first_difference(fast, reference, texts)) is None:
            return fast
        reason = f"it gives other ids for {differing[:40]!r}"
    slower = copy(reference)  # the reference that checks others keeps its name
    slower.engine += f" (not gigatoken: {reason})"
    return slower


def _resident_bytes() -> int:
    """Return this process's memory; 0 if it is unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _wrap(encoded: Encoded, before: Sequence[int], after: Sequence[int]) -> Encoded:
    extra = len(before) + len(after)
    if not extra:
        return encoded
    lengths = encoded.lengths + extra
    ends = np.cumsum(lengths)
    ids: NDArray[Any] = np.empty(int(ends[-1]), encoded.ids.dtype)
    own = np.ones(len(ids), dtype=bool)
    places = [ends - lengths + number for number in range(len(before))]
    places += [ends - len(after) + number for number in range(len(after))]
    for place, token in zip(places, [*before, *after], strict=True):
        ids[place] = token
        own[place] = False
    ids[own] = encoded.ids
    return Encoded(ids, lengths)
