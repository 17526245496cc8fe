"""Tells whether a path's saves fit on its disk."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from megatron_lrps.errors import RefusedError


def saves_between(start: int, end: int, interval: int | None, fork_points: Iterable[int]) -> int:
    """How many checkpoints a path writes in (start, end]: at each interval, at fork points, and at its end."""
    regular = set(range(interval, end + 1, interval)) if interval else set()
    return len({iteration for iteration in regular | set(fork_points) | {end} if start < iteration <= end})


def free_bytes(folder: Path) -> int:
    """The free bytes on the disk of a folder. The folder need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def refuse_no_room(folder: Path, *, free: int, saves: int, needed: int | None, fix: str) -> None:
    """Raise RefusedError with both sizes if the saves do not fit. Nothing happens if ``needed`` is unknown (None)."""
    if needed is not None and needed > free:
        raise RefusedError(
            f"{size_words(free)} are free at {folder}, and {saves} saves will take {size_words(needed)}.", fix
        )


def size_words(size: int) -> str:
    """A size with one decimal, in the largest unit that it has at least one of: ``1.5 GiB``."""
    for unit, one in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if size >= one:
            return f"{size / one:,.1f} {unit}"
    return f"{size / 2**10:,.1f} KiB"
