"""Whether a path's saves fit on its disk."""

from pathlib import Path

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.disk_space import free_bytes, refuse_no_room, saves_between, size_words


def test_saves_are_counted_by_interval_fork_points_and_the_end() -> None:
    assert saves_between(0, 1400, 500, [400]) == 4  # 400, 500, 1000, 1400
    assert saves_between(500, 1400, 500, [400]) == 2
    assert saves_between(0, 1400, None, [400]) == 2
    assert saves_between(0, 1000, 500, [500]) == 2


def test_what_does_not_fit_is_refused_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"1\.0 GiB are free at .*, and 3 saves will take 1\.5 GiB\. Fix: make room"):
        refuse_no_room(tmp_path, free=2**30, saves=3, needed=3 * 2**29, fix="make room.")
    refuse_no_room(tmp_path, free=2**30, saves=2, needed=2**30, fix="make room.")
    refuse_no_room(tmp_path, free=0, saves=2, needed=None, fix="make room.")


def test_the_disk_of_a_folder_that_is_not_there_is_its_parents(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a/b") > 0


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.0 KiB"),
        (2**19, "512.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (3 * 2**29, "1.5 GiB"),
        (5000 * 2**40, "5,000.0 TiB"),
    ],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert size_words(size) == text
