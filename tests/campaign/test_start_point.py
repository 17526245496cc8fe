"""Fork or resume: which checkpoint a path starts from."""

from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.start_point import StartPoint, find_start
from megatron_lrps.errors import RefusedError
from tests.campaign.checkpoints import save


def start(folder: Path, fork: int = 400, end: int = 1000) -> StartPoint:
    return find_start(folder / "v1", parent=folder / "main", fork=fork, end=end)


def test_a_path_without_a_parent_starts_from_scratch(tmp_path: Path) -> None:
    found = find_start(tmp_path / "main", parent=None, fork=0, end=1000)
    assert found == StartPoint(checkpoint=None, forked=False)
    assert found.name == "scratch"


def test_a_branch_forks_the_first_time(tmp_path: Path) -> None:
    save(tmp_path / "main", 200, 400, 600)
    assert start(tmp_path) == StartPoint(checkpoint=Checkpoint(tmp_path / "main", 400), forked=True)
    assert start(tmp_path).name == str(tmp_path / "main" / "iter_0000400")


def test_its_own_folder_comes_first_ever_after(tmp_path: Path) -> None:
    save(tmp_path / "main", 400, 1400)
    save(tmp_path / "v1", 500, 600)
    assert start(tmp_path) == StartPoint(checkpoint=Checkpoint(tmp_path / "v1", 600), forked=False)


def test_a_torn_checkpoint_is_named_and_not_used(tmp_path: Path) -> None:
    save(tmp_path / "main", 400)
    save(tmp_path / "v1", 500)
    save(tmp_path / "v1", 600, whole=False)
    assert start(tmp_path) == StartPoint(
        checkpoint=Checkpoint(tmp_path / "v1", 500), forked=False, skipped={600: "its save was cut off"}
    )


def test_where_all_own_checkpoints_are_torn_it_forks_again(tmp_path: Path) -> None:
    save(tmp_path / "main", 400)
    save(tmp_path / "v1", 500, whole=False)
    assert start(tmp_path) == StartPoint(
        checkpoint=Checkpoint(tmp_path / "main", 400), forked=True, skipped={500: "its save was cut off"}
    )


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ((), ["iteration 400", "there are none", "train the parent path up to it first"]),
        ((100, 300), ["there are 100, 300.", "train the parent path up to it first"]),
        ((300, 500), ["there are 300, 500.", "fork at one of those"]),
    ],
)
def test_a_missing_fork_point_is_refused(saved: tuple[int, ...], words: list[str], tmp_path: Path) -> None:
    save(tmp_path / "main", *saved)
    with pytest.raises(RefusedError) as refusal:
        start(tmp_path)
    assert [word for word in words if word not in str(refusal.value)] == []


def test_a_torn_fork_point_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "main", 300)
    save(tmp_path / "main", 400, whole=False)
    with pytest.raises(RefusedError, match="iter_0000400 is not whole: its save was cut off"):
        start(tmp_path)


def test_a_fork_point_in_megatrons_older_format_is_refused_as_that(tmp_path: Path) -> None:
    (tmp_path / "main" / "iter_0000400" / "mp_rank_00").mkdir(parents=True)
    with pytest.raises(RefusedError, match=r"iter_0000400 is in Megatron's format torch; .*--ckpt-convert-format"):
        start(tmp_path)


@pytest.mark.parametrize("foreign", [300, 400, 1001])
def test_another_paths_checkpoint_in_its_folder_is_refused(foreign: int, tmp_path: Path) -> None:
    save(tmp_path / "main", 400)
    save(tmp_path / "v1", 600, foreign)
    with pytest.raises(
        RefusedError, match=rf"iter_{foreign:07d} lies outside of this path, which trains \(400, 1000\]"
    ):
        start(tmp_path)


def adopted(folder: Path, end: int = 1000) -> StartPoint:
    return find_start(folder / "main", parent=folder / "stock", fork=400, end=end, adopted=True)


def test_an_adopted_main_starts_from_the_run_once_and_then_from_its_own_folder(tmp_path: Path) -> None:
    save(tmp_path / "stock", 200, 400, 600)
    assert adopted(tmp_path) == StartPoint(checkpoint=Checkpoint(tmp_path / "stock", 400), forked=True)
    save(tmp_path / "main", 500, 1100)
    assert adopted(tmp_path, end=500) == StartPoint(checkpoint=Checkpoint(tmp_path / "main", 1100), forked=False)
    with pytest.raises(RefusedError, match="has passed iteration 1000"):
        adopted(tmp_path)
    save(tmp_path / "main", 300)  # of whatever else: main has trained nothing there
    with pytest.raises(RefusedError, match=r"iter_0000300 lies outside of this path, which trains \(400, 500\]"):
        adopted(tmp_path, end=500)


@pytest.mark.parametrize(
    ("there", "torn", "words"),
    [
        (None, (), ["main.adopt:", "stock is no folder", "or mount it"]),
        ((), (), ["iter_0000400 is not there", "stock: none", "name the --save folder"]),
        ((200, 600), (), ["iter_0000400 is not there", "stock: 200, 600", "name one of those"]),
        ((200,), (400,), ["iter_0000400 is not whole", "stock: 200", "name one of those"]),
    ],
)
def test_a_run_that_cannot_be_adopted_there_is_refused(
    there: tuple[int, ...] | None, torn: tuple[int, ...], words: list[str], tmp_path: Path
) -> None:
    if there is not None:
        (tmp_path / "stock").mkdir()
        save(tmp_path / "stock", *there)
    save(tmp_path / "stock", *torn, whole=False)
    with pytest.raises(RefusedError) as refusal:
        adopted(tmp_path)
    assert [word for word in words if word not in str(refusal.value)] == []
    assert "parent" not in str(refusal.value)


def test_an_adopted_checkpoint_of_another_format_is_named(tmp_path: Path) -> None:
    save(tmp_path / "stock", 400, whole=False)
    (tmp_path / "stock" / "iter_0000400" / "mp_rank_00").mkdir()
    with pytest.raises(RefusedError, match=r"is in Megatron's format torch; .* --ckpt-convert-format torch_dist"):
        adopted(tmp_path)
