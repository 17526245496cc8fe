"""``prefix.prepared.json``: what an index was made from, and how."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from megatron_lrps.data.prepare.encode import Encoding
from megatron_lrps.storage.files import read_json


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The record of one index.

    Attributes:
        prefix: Of the ``.bin`` and ``.idx``.
        key: Identifies options, tokenizer, and kinds and sizes of the files.
        documents: Documents in the index; ``empty_documents`` of them have no token.
        tokens: EODs included.
        text_bytes: Of the lines, rows and files that held the documents, unpacked.
        blank_lines: Lines without anything in them.
        unreadable: Documents that are not in the index, by reason; ``prefix.unreadable.jsonl`` lists them.
        remarks: Documents that are in the index, by what was changed in them or is odd about them.
        engines: What encoded.
        checked_documents: Compared with the reference tokenizer.
        reference_shards: Shards of which a fast engine gave another id, so that the reference did them.
        shards: How many there were.
        tokenizer: The model's fingerprint.
        bin_bytes: Size of the ``.bin``.
        bin_sha256: Of the ``.bin``.
        idx_sha256: Of the ``.idx``.
        sources: Name, size, time of change and hashes of each file of text (``content.Entry``).
        options: What decides about ids beside the files (``made_from.options_of``); empty in an old record.
        libraries: Versions.
        seconds: Of the run that finished it.
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
        """What was counted of the documents that are there and of those that are not, in words."""
        bad = [f"{count:,} documents are not in it: {reason}" for reason, count in sorted(self.unreadable.items())]
        return [*bad, *(f"{count:,} documents: {remark}" for remark, count in sorted(self.remarks.items()))]

    def to_json(self) -> dict[str, Any]:
        """The fields that are kept."""
        fields = asdict(self)
        del fields["fresh"]
        return fields


def record_file(prefix: Path) -> Path:
    """Where the record of an index is."""
    return Path(f"{prefix}.prepared.json")


def unreadable_file(prefix: Path) -> Path:
    """Where the documents that could not be read are listed."""
    return Path(f"{prefix}.unreadable.jsonl")


def read_prepared(prefix: Path) -> Prepared | None:
    """The record beside an index, if it is one and the ``.bin`` has its size."""
    fields = read_json(record_file(prefix))
    try:
        # Its folder may have been moved.
        prepared = Prepared(**{**fields, "prefix": str(prefix)}, fresh=False) if fields else None
        there = prepared is not None and Path(f"{prefix}.bin").stat().st_size == prepared.bin_bytes
        return prepared if there and Path(f"{prefix}.idx").is_file() else None
    except (TypeError, OSError):
        return None


def totals(encodings: Sequence[Encoding]) -> dict[str, Any]:
    """The record's counts."""
    unreadable: Counter[str] = Counter()
    remarks: Counter[str] = Counter()
    for encoding in encodings:
        unreadable.update(encoding.unreadable)
        remarks.update(encoding.remarks)
    return {
        "documents": sum(encoding.documents for encoding in encodings),
        "empty_documents": sum(encoding.empty for encoding in encodings),
        "tokens": sum(encoding.tokens for encoding in encodings),
        "text_bytes": sum(encoding.bytes for encoding in encodings),
        "blank_lines": sum(encoding.blank for encoding in encodings),
        "unreadable": dict(unreadable),
        "remarks": dict(remarks),
        "engines": sorted({encoding.engine for encoding in encodings}),
        "checked_documents": sum(encoding.checked for encoding in encodings),
        "reference_shards": [number for number, encoding in enumerate(encodings) if encoding.differing],
        "shards": len(encodings),
    }
