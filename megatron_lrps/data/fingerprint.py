"""Fingerprints of data and tokenizers. They are cheap to take before every run, and the same on every machine.

Only the standard library is imported, so that commands that do not train start fast.
"""

import hashlib
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from megatron_lrps.errors import RefusedError

SAMPLE_BLOCKS = 64
SAMPLE_BLOCK_BYTES = 64 * 1024

TOKENIZER_FILES = (
    "*.model", "*.tiktoken", "added_tokens.json", "merges.txt", "special_tokens_map.json", "tokenization_*.py",
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt",
)  # fmt: skip
"""Files of a Hugging Face folder that decide which ids a text gets. Weights, ``config.json`` and chat
templates are left out, because they may change without a change of any id in the training data."""


@dataclass(frozen=True, kw_only=True)
class DataFingerprint:
    """The identity of a Megatron ``.bin``/``.idx`` pair.

    The ``.idx`` is hashed whole. It holds every sequence length, so any other cut of the text shows. From the ``.bin``
    the size and up to 64 blocks of 64 KiB count, so that a file of terabytes takes about a second. A change that keeps
    the size and misses all blocks is not seen. Files up to 4 MiB are hashed whole.
    """

    idx_sha256: str
    bin_bytes: int
    bin_sample_sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a plain dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "DataFingerprint":
        """Read back what ``to_json`` wrote.

        Raises:
            RefusedError: ``fields`` has other keys, or values of other types.
        """
        expected = {"idx_sha256": str, "bin_bytes": int, "bin_sample_sha256": str}
        if {key: type(value) for key, value in fields.items()} != expected:
            raise RefusedError(
                f"A data fingerprint has the fields {', '.join(expected)}; found {fields}.",
                "Restore the record from a backup, or take the fingerprint again.",
            )
        return cls(**fields)


def fingerprint(prefix: Path | str) -> DataFingerprint:
    """Fingerprint the pair ``prefix.bin``, ``prefix.idx``.

    Raises:
        RefusedError: One of the two files is missing or unreadable.
    """
    # Not with_suffix: a prefix may hold dots ("web.2024"), which it would cut off.
    idx, data = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    fix = "Correct the path in the plan (a prefix, without .bin or .idx), or prepare the data again."
    idx_sha256 = _hash_file(idx, fix)
    with _open(data, fix) as stream:
        size = stream.seek(0, 2)
        sample = hashlib.sha256()
        for offset in _sample_offsets(size):
            stream.seek(offset)
            sample.update(stream.read(SAMPLE_BLOCK_BYTES))
    return DataFingerprint(idx_sha256=idx_sha256, bin_bytes=size, bin_sample_sha256=sample.hexdigest())


def file_sha256(path: Path | str) -> str:
    """Return the sha256 of a whole file, as 64 hexadecimal digits.

    Raises:
        RefusedError: The file is missing or unreadable.
    """
    return _hash_file(Path(path), "Correct the path, or put the file there.")


def tokenizer_fingerprint(path: Path | str) -> str:
    """Return the sha256 of a tokenizer: its file, or the tokenizer files of a Hugging Face folder.

    From a folder the relative names and contents of ``TOKENIZER_FILES`` count, in sorted order.

    Raises:
        RefusedError: ``path`` is missing, unreadable, or a folder without a tokenizer file.
    """
    path = Path(path)
    fix = "Set tokenizer.model in the plan to a tokenizer file or to a Hugging Face tokenizer folder."
    if not path.is_dir():
        return _hash_file(path, fix)
    files = {file.relative_to(path).as_posix(): file for name in TOKENIZER_FILES for file in path.rglob(name)}
    if not files:
        raise RefusedError(f"{path} holds no tokenizer file ({', '.join(TOKENIZER_FILES)}).", fix)
    total = hashlib.sha256()
    for name, file in sorted(files.items()):
        # Fixed-length hashes of name and content: no two folders give the same bytes here.
        total.update(hashlib.sha256(name.encode()).digest())
        total.update(bytes.fromhex(_hash_file(file, fix)))
    return total.hexdigest()


def _sample_offsets(size: int) -> list[int]:
    """Return the first bytes of the sampled blocks of a file. The first and the last block are among them."""
    if size <= SAMPLE_BLOCKS * SAMPLE_BLOCK_BYTES:
        return list(range(0, size, SAMPLE_BLOCK_BYTES))
    last = size - SAMPLE_BLOCK_BYTES
    return [last * block // (SAMPLE_BLOCKS - 1) for block in range(SAMPLE_BLOCKS)]


def _hash_file(path: Path, fix: str) -> str:
    with _open(path, fix) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _open(path: Path, fix: str) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror or error}.", fix) from error
