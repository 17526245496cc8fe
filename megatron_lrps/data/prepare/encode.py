"""Encodes a shard: its tokens, and the lengths of its documents. A fast engine's ids are checked on a sample."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_lrps.data.prepare.content_hashes import FileRecord, entry_of
from megatron_lrps.data.prepare.documents import Tally, documents
from megatron_lrps.data.prepare.encoders import Encoded, Encoder, TokenizerSpec, load_reference
from megatron_lrps.data.prepare.encoders.encoder import batches
from megatron_lrps.data.prepare.find import TextSource
from megatron_lrps.data.prepare.shards import Shard
from megatron_lrps.errors import LrpsError
from megatron_lrps.storage.files import read_json, replacing, write_atomic

BATCH_CHARS = 2**22
"""Characters encoded at a time. gigatoken takes a quarter longer with batches of 1 MiB."""

UINT16_BELOW = 65500
"""Megatron writes the ids of a vocabulary of fewer tokens as uint16, and others as int32."""

_CHECKED_SHARE = 0.005
_CHECKED_FIRST = 20
_CHECKED_CHARS = 16_384

Progress = Callable[[int, int], None]
"""Called with the bytes of text and the tokens since the last call."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """The contents of a shard's files.

    Attributes:
        key: Identifies what it is made from, without the content of its files (``shards.shard_key``).
        documents: Documents, empty ones included.
        empty: Documents without a token; they have no sequence in the index.
        tokens: Tokens with EODs.
        bytes: Bytes of the lines, rows and files that held the documents, unpacked.
        blank: Blank lines.
        unreadable: Unreadable documents by reason.
        remarks: Documents that were changed or are odd, by what was changed or is odd.
        files: The file of each range, with its hash (``content_hashes.FileRecord``).
        lines: Lines of each range that has lines.
        engine: The library that encoded.
        checked: Documents that were compared with the reference.
        differing: The beginning of the first document whose ids differed, so that the reference encoded the shard;
            or "".
    """

    key: str
    documents: int
    empty: int
    tokens: int
    bytes: int
    blank: int
    engine: str
    checked: int
    differing: str = ""
    unreadable: dict[str, int] = field(default_factory=dict)
    remarks: dict[str, int] = field(default_factory=dict)
    files: list[FileRecord] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PartFiles:
    """A shard's files: tokens, lengths of the documents (int32, EOD included), unreadable documents, and facts."""

    folder: Path
    name: str

    @property
    def bin(self) -> Path:
        """The tokens, as they will be in the ``.bin``."""
        return self.folder / f"{self.name}.bin"

    @property
    def lengths(self) -> Path:
        """The tokens of each document, int32."""
        return self.folder / f"{self.name}.lengths"

    @property
    def unreadable(self) -> Path:
        """The unreadable documents, one JSON object a line."""
        return self.folder / f"{self.name}.unreadable.jsonl"

    @property
    def facts(self) -> Path:
        """The ``Encoding``. It is written when all else is durable."""
        return self.folder / f"{self.name}.json"

    def done(self, key: str) -> Encoding | None:
        """Return the encoding, if it was made with ``key`` and is whole. Its ``files`` identify the content."""
        facts = read_json(self.facts)
        if facts is None or facts.get("key") != key:
            return None
        try:
            encoding = Encoding(**facts)
            whole = self.lengths.stat().st_size == 4 * encoding.documents and self.unreadable.is_file()
            return encoding if whole and self.bin.stat().st_size in (2 * encoding.tokens, 4 * encoding.tokens) else None
        except (OSError, TypeError):
            return None


def tokens_of(parts: Iterable[PartFiles]) -> Iterator[bytes]:
    """Return the tokens of all parts, a few MiB at a time."""
    return _blocks((part.bin for part in parts), 8 * 2**20)


def lengths_of(parts: Iterable[PartFiles]) -> Iterator[NDArray[np.int32]]:
    """Return the documents' lengths of all parts, a few MiB at a time."""
    return (np.frombuffer(block, np.int32) for block in _blocks((part.lengths for part in parts), 4 * 2**20))


def _blocks(files: Iterable[Path], size: int) -> Iterator[bytes]:
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(size):
                yield block


def dtype_of(encoder: Encoder) -> np.dtype[Any]:
    """Return the type of the tokens in the ``.bin``, as Megatron chooses it."""
    return np.dtype(np.uint16 if encoder.vocab_size < UINT16_BELOW else np.int32)


def encode_shard(
    shard: Shard, source: TextSource, encoder: Encoder, spec: TokenizerSpec, key: str, folder: Path, progress: Progress
) -> Encoding:
    """Encode a shard into ``folder``. The files are durable when this returns.

    Raises:
        RefusedError: The shard's text cannot be read.
        LrpsError: The tokenizer gave an id that it should not have.
        StorageError: The files could not be written.
    """
    files = PartFiles(folder, shard.name)
    checks = _Checks(load_reference(spec)) if not encoder.exact else None
    read = [entry_of(span) for span in shard.spans]
    try:
        encoding = _write(shard, source, encoder, key, files, progress, checks)
    except _DifferingError as found:
        reference = load_reference(spec)
        progress(-found.bytes, -found.tokens)
        encoding = _write(shard, source, reference, key, files, progress, None, differing=found.text[:80])
    encoding = replace(encoding, files=read)
    write_atomic(files.facts, json.dumps(asdict(encoding), indent=2))
    return encoding


class _DifferingError(Exception):
    """The fast engine gave other ids than the reference."""

    def __init__(self, text: str, bytes: int, tokens: int) -> None:
        super().__init__(text)
        self.text, self.bytes, self.tokens = text, bytes, tokens


class _Checks:
    """A check of a fast engine's ids by the reference's on the first documents and on a share of all text."""

    def __init__(self, reference: Encoder) -> None:
        self._reference = reference
        self._seen = self._compared = 0
        self.documents = 0

    def differing(self, texts: list[str], encoder: Encoder) -> str | None:
        """Return the first of the chosen documents whose ids differ."""
        chosen = []
        for text in texts:
            self._seen += len(text)
            first = self.documents < _CHECKED_FIRST and self._compared < _CHECKED_FIRST * _CHECKED_CHARS
            if first or self._compared <= _CHECKED_SHARE * self._seen:
                # Only a part of a long document is compared; its place changes with the document.
                begin = self._seen % max(1, len(text) - _CHECKED_CHARS) if len(text) > _CHECKED_CHARS else 0
                part = text[begin : begin + _CHECKED_CHARS]
                chosen.append(part)
                self.documents += 1
                self._compared += len(part)
        if not chosen:
            return None
        fast, exact = encoder.encode(chosen), self._reference.encode(chosen)
        if np.array_equal(fast.lengths, exact.lengths) and np.array_equal(fast.ids, exact.ids):
            return None
        pairs = zip(chosen, fast.lists(), exact.lists(), strict=True)
        return next(text for text, mine, theirs in pairs if mine != theirs)


def _write(
    shard: Shard,
    source: TextSource,
    encoder: Encoder,
    key: str,
    files: PartFiles,
    progress: Progress,
    checks: _Checks | None,
    *,
    differing: str = "",
) -> Encoding:
    dtype = dtype_of(encoder)
    counted = empty = tokens = reported = 0
    with (
        replacing(files.bin, files.lengths, files.unreadable) as (new_bin, new_lengths, new_unreadable),
        new_bin.open("wb") as bins,
        new_lengths.open("wb") as lengths_file,
        new_unreadable.open("w", encoding="utf-8") as report,
    ):
        tally = Tally(report)
        for texts in batches(documents(shard, source, tally), BATCH_CHARS):
            if checks is not None and (text := checks.differing(texts, encoder)) is not None:
                raise _DifferingError(text, reported, tokens)
            ids, lengths = with_eod(encoder.encode(texts), encoder, dtype)
            bins.write(ids.data)
            lengths_file.write(lengths.data)
            counted += len(texts)
            empty += len(texts) - int(np.count_nonzero(lengths))
            tokens += len(ids)
            progress(tally.bytes - reported, len(ids))
            reported = tally.bytes
    return Encoding(
        key=key,
        documents=counted,
        empty=empty,
        tokens=tokens,
        bytes=tally.bytes,
        blank=tally.blank,
        unreadable=dict(tally.unreadable),
        remarks=dict(tally.remarks),
        lines={str(number): count for number, count in tally.lines.items()},
        engine=encoder.engine,
        checked=checks.documents if checks else 0,
        differing=differing,
    )


def with_eod(encoded: Encoded, encoder: Encoder, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Add an EOD behind each document that has ids; return ids and lengths with EOD (int32, 0 for an empty one).

    Raises:
        LrpsError: An id is not below the vocabulary's size.
    """
    if len(encoded.ids) and (largest := int(encoded.ids.max())) >= encoder.vocab_size:
        raise LrpsError(
            f"The tokenizer gave the id {largest}, but its vocabulary has {encoder.vocab_size} tokens.",
            "Correct the tokenizer's files, because training would read beyond the embedding.",
        )
    filled = encoded.lengths > 0
    lengths = encoded.lengths + filled
    out = np.empty(int(lengths.sum()), dtype)
    last = np.cumsum(lengths)[filled] - 1
    own = np.ones(len(out), dtype=bool)
    own[last] = False
    out[own] = encoded.ids
    out[last] = encoder.eod
    return out, lengths.astype(np.int32)


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide ids."""
    found = {}
    for name in ("sentencepiece", "tokenizers", "tiktoken", "gigatoken", "transformers"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
