"""A checkpoint's manifest: what is damaged is named."""

import hashlib
import json
import random
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.manifest import (
    MANIFEST,
    damaged_contents,
    damaged_sizes,
    read_manifest,
    take_hashes,
    take_sizes,
)
from megatron_lrps.campaign.start_point import find_start
from megatron_lrps.errors import StorageError

FILES = {"common.pt": 300, ".metadata": 200, "metadata.json": 40, "__0_0.distcp": 5000, "__1_0.distcp": 3000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as Megatron leaves it, hashed."""
    folder = Checkpoint(tmp_path / "checkpoints", 100).folder
    folder.mkdir(parents=True)
    for name, size in FILES.items():
        (folder / name).write_bytes(random.Random(name).randbytes(size))
    take_hashes(folder, take_sizes(folder))
    return folder


def test_sizes_first_and_hashes_later(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    first = take_sizes(folder)
    assert first.bytes == FILES
    assert first.digest is None
    assert read_manifest(folder) == first
    assert damaged_contents(folder) == []  # nothing to compare with yet
    whole = take_hashes(folder, first)
    assert set(whole.sha256) == set(FILES)
    assert read_manifest(folder) == whole
    assert whole.digest is not None


def test_whoever_walks_a_checkpoint_meanwhile_sees_nothing_that_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Megatron's artifact for Weights & Biases lists the files, and opens them one by one."""
    seen: list[set[str]] = []
    replace = Path.replace

    def watched(temporary: Path, final: Path) -> Path:
        seen.append({file.name for file in folder.iterdir()})
        return replace(temporary, final)

    monkeypatch.setattr(Path, "replace", watched)
    take_hashes(folder, take_sizes(folder))
    assert seen == [{*FILES, MANIFEST}] * 2
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_the_digest_is_of_names_sizes_and_contents(folder: Path) -> None:
    before = read_manifest(folder)
    assert before is not None
    (folder / "__0_0.distcp").rename(folder / "__2_0.distcp")
    assert take_hashes(folder, take_sizes(folder)).digest != before.digest
    (folder / "__2_0.distcp").rename(folder / "__0_0.distcp")
    assert take_hashes(folder, take_sizes(folder)).digest == before.digest


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_flipped_bit_is_found_in_every_file(name: str, folder: Path) -> None:
    content, numbers = (folder / name).read_bytes(), random.Random(name)
    for _ in range(20):
        at, bit = numbers.randrange(len(content)), numbers.randrange(8)
        (folder / name).write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        assert [damage.file for damage in damaged_contents(folder)] == [name], (at, bit)
    (folder / name).write_bytes(content)
    assert damaged_contents(folder) == []


@pytest.mark.parametrize("name", FILES)
def test_truncation_and_absence_show_in_the_sizes(name: str, folder: Path) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    size = FILES[name]
    assert [str(damage) for damage in damaged_sizes(folder)] == [
        f"{name} has {size - 1} bytes, it was saved with {size}"
    ]
    (folder / name).unlink()
    assert [str(damage) for damage in damaged_sizes(folder)] == [f"{name} cannot be read: No such file or directory"]


def test_ranks_read_a_share_each(folder: Path) -> None:
    for name in ("__0_0.distcp", "__1_0.distcp"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    shares = [damaged_contents(folder, part=part, parts=3) for part in range(3)]
    assert [[damage.file for damage in share] for share in shares] == [["__0_0.distcp"], ["__1_0.distcp"], []]


def test_a_manifest_that_leads_out_of_the_folder_is_none(folder: Path) -> None:
    files = json.dumps({"../../secret": {"bytes": 1}})
    head = json.dumps({"format": 1, "sha256": hashlib.sha256(files.encode()).hexdigest()})
    (folder / MANIFEST).write_text(f"{head}\n{files}\n")
    assert read_manifest(folder) is None
    assert [damage.file for damage in damaged_sizes(folder)] == [MANIFEST]


def test_a_file_that_shrank_before_it_was_hashed_is_no_checkpoint(folder: Path) -> None:
    manifest = take_sizes(folder)
    (folder / "common.pt").write_bytes(b"")
    with pytest.raises(StorageError, match=r"common\.pt has 0 bytes, it was saved with 300"):
        take_hashes(folder, manifest)


def test_a_checkpoint_without_a_manifest_is_megatrons_word(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    assert damaged_sizes(folder) == []
    assert damaged_contents(folder) == []


def test_a_resume_uses_the_one_before_a_damaged_one(folder: Path) -> None:
    newer = Checkpoint(folder.parent, 200).folder
    newer.mkdir()
    for name in FILES:
        (newer / name).write_bytes(b"x")
    take_sizes(newer)
    assert find_start(folder.parent, parent=None, fork=0, end=300).iteration == 200
    (newer / "__0_0.distcp").write_bytes(b"")
    start = find_start(folder.parent, parent=None, fork=0, end=300)
    assert (start.iteration, start.skipped) == (100, {200: "__0_0.distcp has 0 bytes, it was saved with 1"})
    start = find_start(folder.parent, parent=None, fork=0, end=300, damaged={100: "common.pt has other content"})
    assert (start.iteration, start.checkpoint) == (0, None)
    assert list(start.skipped) == [100, 200]


def test_every_hashed_file_is_progress(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    seen: list[int] = []
    take_hashes(tmp_path, take_sizes(tmp_path), lambda: seen.append(1))
    assert len(seen) == 3
