"""Checkpoints in a ``--save`` folder: which there are, and which are whole."""

from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints, is_complete


def save(checkpoints: Path, name: int | str, *, metadata: str = "x", json: str = "{}") -> Path:
    """A checkpoint's folder with what a torch_dist save writes last."""
    folder = Checkpoint(checkpoints, name).folder if isinstance(name, int) else checkpoints / name
    folder.mkdir(parents=True)
    (folder / "__0_0.distcp").write_bytes(b"weights")
    (folder / "common.pt").write_bytes(b"state")
    (folder / ".metadata").write_text(metadata)
    (folder / "metadata.json").write_text(json)
    return folder


def found_in(save: Path) -> tuple[list[int], list[int]]:
    """Complete and torn."""
    found = Checkpoints.in_folder(save)
    return [*found.complete], [*found.torn]


@pytest.mark.parametrize(
    ("iteration", "name"), [(1, "iter_0000001"), (34_000, "iter_0034000"), (12_345_678, "iter_12345678")]
)
def test_checkpoints_are_named_as_megatron_names_them(iteration: int, name: str) -> None:
    assert Checkpoint(Path("c"), iteration).folder == Path("c") / name


def test_checkpoints_rise_in_number(tmp_path: Path) -> None:
    for iteration in (900, 20_000_000, 5, 1000):
        save(tmp_path, iteration)
    assert found_in(tmp_path) == ([5, 900, 1000, 20_000_000], [])


def test_no_folder_no_checkpoints(tmp_path: Path) -> None:
    assert found_in(tmp_path / "nowhere") == ([], [])
    assert found_in(tmp_path) == ([], [])
    (tmp_path / "file").touch()
    assert found_in(tmp_path / "file") == ([], [])


def test_a_checkpoint_without_its_last_files_is_torn(tmp_path: Path) -> None:
    whole = save(tmp_path, 1)
    (save(tmp_path, 2) / ".metadata").unlink()
    (save(tmp_path, 3) / "metadata.json").unlink()
    save(tmp_path, 4, metadata="")
    save(tmp_path, 5, json="")
    Checkpoint(tmp_path, 6).folder.mkdir()
    folder = save(tmp_path, 7)
    (folder / ".metadata").unlink()
    (folder / ".metadata").mkdir()
    folder = save(tmp_path, 8)
    (folder / "metadata.json").unlink()
    (folder / "metadata.json").symlink_to(folder / "gone")
    folder = save(tmp_path, 9)
    (folder / "metadata.json").unlink()
    (folder / "metadata.json").symlink_to(folder / "metadata.json")
    assert found_in(tmp_path) == ([1], [2, 3, 4, 5, 6, 7, 8, 9])
    assert is_complete(whole)
    assert not is_complete(tmp_path / "nowhere")


def test_what_is_no_checkpoint_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 10)
    for name in ("iter_0000010.tmp", "iter_10", "iter_00000010", "iter_0000x10", "Iter_0000011", "iter_٠٠٠٠٠١٢", "tmp"):
        save(tmp_path, name)
    Checkpoint(tmp_path, 13).folder.touch()
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("10")
    assert found_in(tmp_path) == ([10], [])


def test_a_linked_checkpoint_counts(tmp_path: Path) -> None:
    there = save(tmp_path / "elsewhere", 10)
    (tmp_path / "here").mkdir()
    Checkpoint(tmp_path / "here", 10).folder.symlink_to(there)
    Checkpoint(tmp_path / "here", 11).folder.symlink_to(tmp_path / "gone")
    assert found_in(tmp_path / "here") == ([10], [])
