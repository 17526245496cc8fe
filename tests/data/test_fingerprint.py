import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_lrps.data.fingerprint import DataFingerprint, file_sha256, fingerprint, tokenizer_fingerprint
from megatron_lrps.errors import RefusedError

BLOCK = 64 * 1024


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A pair whose name holds a dot; the .bin is 100 blocks of 64 KiB, so 64 of them are sampled."""
    prefix = tmp_path / "web.2024"
    Path(f"{prefix}.idx").write_bytes(b"index")
    Path(f"{prefix}.bin").write_bytes(bytes(100 * BLOCK))
    return prefix


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_fields_are_size_and_hashes(prefix: Path) -> None:
    found = fingerprint(prefix)
    assert found.idx_sha256 == hashlib.sha256(b"index").hexdigest()
    assert found.bin_bytes == 100 * BLOCK
    assert found.bin_sample_sha256 == hashlib.sha256(bytes(64 * BLOCK)).hexdigest()  # 64 blocks of zeros


def test_a_small_bin_is_hashed_whole(prefix: Path) -> None:
    Path(f"{prefix}.bin").write_bytes(b"abc" * 30_000)
    assert fingerprint(prefix).bin_sample_sha256 == hashlib.sha256(b"abc" * 30_000).hexdigest()


@pytest.mark.parametrize("offset", [0, 100 * BLOCK - 1])
def test_first_and_last_byte_of_the_bin_count(prefix: Path, offset: int) -> None:
    before = fingerprint(prefix)
    flip(Path(f"{prefix}.bin"), offset)
    after = fingerprint(prefix)
    assert (after.idx_sha256, after.bin_bytes) == (before.idx_sha256, before.bin_bytes)
    assert after.bin_sample_sha256 != before.bin_sample_sha256


@pytest.mark.parametrize("offset", range(5))
def test_every_byte_of_the_idx_counts(prefix: Path, offset: int) -> None:
    before = fingerprint(prefix)
    flip(Path(f"{prefix}.idx"), offset)
    assert fingerprint(prefix) != before


def test_size_counts_where_no_sampled_byte_changes(prefix: Path) -> None:
    before = fingerprint(prefix)
    with Path(f"{prefix}.bin").open("ab") as stream:
        stream.write(b"\0")
    after = fingerprint(prefix)
    assert after.bin_sample_sha256 == before.bin_sample_sha256  # zeros as before
    assert after.bin_bytes == before.bin_bytes + 1


def test_json_round_trip_and_refusal(prefix: Path) -> None:
    found = fingerprint(prefix)
    fields = found.to_json()
    assert DataFingerprint.from_json(fields) == found
    with pytest.raises(RefusedError, match="bin_bytes"):
        DataFingerprint.from_json({**fields, "bin_bytes": "6553600"})
    with pytest.raises(RefusedError, match="idx_sha256"):
        DataFingerprint.from_json({"bin_bytes": 1})


@pytest.mark.parametrize("end", [".idx", ".bin"])
def test_a_missing_file_is_refused_by_name(prefix: Path, end: str) -> None:
    Path(f"{prefix}{end}").unlink()
    with pytest.raises(RefusedError) as refused:
        fingerprint(prefix)
    assert f"{prefix}{end}" in refused.value.what
    assert refused.value.fix


def test_file_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")  # FIPS 180-2's example
    with pytest.raises(RefusedError, match="absent"):
        file_sha256(tmp_path / "absent")


def test_tokenizer_file_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer.model").write_text("m")
    before = tokenizer_fingerprint(folder)
    assert tokenizer_fingerprint(folder / "tokenizer.json") == file_sha256(folder / "tokenizer.json")

    (folder / "model.safetensors").write_text("weights")
    (folder / "chat_template.jinja").write_text("no id changes")
    assert tokenizer_fingerprint(folder) == before
    (folder / "tokenizer.json").write_text("[]")
    assert tokenizer_fingerprint(folder) != before
    (folder / "tokenizer.json").write_text("m")
    (folder / "tokenizer.model").write_text("{}")
    assert tokenizer_fingerprint(folder) != before  # contents swapped between two names


def test_tokenizer_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no tokenizer file"):
        tokenizer_fingerprint(tmp_path)
    with pytest.raises(RefusedError, match="nowhere"):
        tokenizer_fingerprint(tmp_path / "nowhere")


def test_pure() -> None:
    code = (
        "import sys, megatron_lrps.data.fingerprint, megatron_lrps.data.index_reader;"
        "print({'torch', 'megatron', 'numpy', 'pydantic'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
