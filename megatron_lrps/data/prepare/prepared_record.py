"""``prefix.prepared.json``, the record of an index: what it was made from, and how."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from megatron_lrps.data.prepare.encode import Encoding
from megatron_lrps.storage.files import read_json
from megatron_lrps.wording import counted


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The record of one index.

    Attributes:
        prefix: Path of the ``.bin`` and ``.idx`` without their endings.
        key: Identifies the options, the tokenizer, and the kinds and sizes of the files.
        documents: Documents in the index; ``empty_documents`` of them have no token.
        tokens: Tokens in the index, EODs included.
        text_bytes: Bytes of the lines, rows and files that held the documents, unpacked.
        blank_lines: Lines that hold nothing.
        unreadable: Documents that are not in the index, by reason; ``prefix.unreadable.jsonl`` lists them.
        remarks: Documents that are in the index and were changed or are odd, by what was changed or is odd.
        engines: The libraries that encoded.
        checked_documents: Documents that were compared with the reference tokenizer.
        reference_shards: Shards that the reference encoded, because a fast engine gave another id.
        shards: The number of shards.
        tokenizer: The fingerprint of the tokenizer's model.
        bin_bytes: Size of the ``.bin``.
        bin_sha256: The sha256 of the ``.bin``.
        idx_sha256: The sha256 of the ``.idx``.
        sources: Name, size, time of change and hashes of each file of text (``content_hashes.FileRecord``).
        options: What decides the ids besides the files (``made_from.options_of``); empty in an old record.
        libraries: The versions of the libraries that decide ids.
        seconds: The duration of the run that finished it.
        fresh: Whether this run made it.
    """

    prefix: str
    key: str
    documents: int
    empty_documents: int
    tokens: int
    text_bytes: int
    blank_lines: int
    unreadable: dict[str, int]
    engines: list[str]
    checked_documents: int
    reference_shards: list[int]
    shards: int
    tokenizer: str
    bin_bytes: int
    bin_sha256: str
    idx_sha256: str
    sources: list[dict[str, Any]]
    libraries: dict[str, str]
    seconds: float
    remarks: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    fresh: bool = True

    def remarked(self) -> list[str]:
        """Return lines about documents that are not in the index, and about those that were changed or are odd."""
        bad = [f"{counted(count, 'document')} left out: {reason}" for reason, count in sorted(self.unreadable.items())]
        return [*bad, *(f"{counted(count, 'document')}: {remark}" for remark, count in sorted(self.remarks.items()))]

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are written to disk."""
        return {key: value for key, value in asdict(self).items() if key != "fresh"}


def record_file(prefix: Path) -> Path:
    """Return the file of an index's record."""
    return Path(f"{prefix}.prepared.json")


def unreadable_file(prefix: Path) -> Path:
    """Return the file that lists the documents that could not be read."""
    return Path(f"{prefix}.unreadable.jsonl")


def read_prepared(prefix: Path) -> Prepared | None:
    """Return the record beside an index, if it can be read and the ``.bin`` has the size that it says."""
    fields = read_json(record_file(prefix))
    try:
        # Its folder may have been moved.
        prepared = Prepared(**{**fields, "prefix": str(prefix)}, fresh=False) if fields else None
        there = prepared is not None and Path(f"{prefix}.bin").stat().st_size == prepared.bin_bytes
        return prepared if there and Path(f"{prefix}.idx").is_file() else None
    except (TypeError, OSError):
        return None


def totals(encodings: Sequence[Encoding]) -> dict[str, Any]:
    """Return the counts of all shards together, as the record has them."""
    none: Counter[str] = Counter()
    return {
        "documents": sum(encoding.documents for encoding in encodings),
        "empty_documents": sum(encoding.empty for encoding in encodings),
        "tokens": sum(encoding.tokens for encoding in encodings),
        "text_bytes": sum(encoding.bytes for encoding in encodings),
        "blank_lines": sum(encoding.blank for encoding in encodings),
        "unreadable": dict(sum((Counter(encoding.unreadable) for encoding in encodings), none)),
        "remarks": dict(sum((Counter(encoding.remarks) for encoding in encodings), none)),
        "engines": sorted({encoding.engine for encoding in encodings}),
        "checked_documents": sum(encoding.checked for encoding in encodings),
        "reference_shards": [number for number, encoding in enumerate(encodings) if encoding.differing],
        "shards": len(encodings),
    }
