"""Checks whether a path's saves fit on its disk."""

import contextlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from megatron_lrps.errors import RefusedError


def saves_between(start: int, end: int, interval: int | None, needed: Iterable[int]) -> int:
    """Return how many checkpoints a path writes in (start, end]: at intervals, fork points and its end."""
    regular = set(range(interval, end + 1, interval)) if interval else set()
    return len({iteration for iteration in regular | set(needed) | {end} if start < iteration <= end})


def free_bytes(folder: Path) -> int:
    """Return the free bytes on a folder's disk. The folder need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def file_system(folder: Path) -> str:
    """Return the file system that a folder is on, in words: ``ext4 at /home``. The folder need not exist."""
    place = folder.resolve()
    found = (Path("/"), "the root file system")
    with contextlib.suppress(OSError):
        # "id parent device root mount-point options [tags] - type source ...", proc(5); a space is written \\040
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            fields, _, kind = line.partition(" - ")
            point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4]))
            if place.is_relative_to(point) and len(point.parts) >= len(found[0].parts):
                found = (point, f"{kind.split()[0]} at {point}")
    return found[1]


def refuse_no_room(folder: Path, *, free: int, saves: int, needed: int | None, fix: str) -> None:
    """Raise RefusedError with both sizes if the saves do not fit. Does nothing if ``needed`` is unknown (None)."""
    if needed is not None and needed > free:
        raise RefusedError(
            f"{size_words(free)} are free at {folder}, and {saves} saves will take {size_words(needed)}.", fix
        )


def size_words(size: int) -> str:
    """Return a size with one decimal, in the largest unit not above it: ``1.5 GiB``."""
    for unit, one in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if size >= one:
            return f"{size / one:,.1f} {unit}"
    return f"{size / 2**10:,.1f} KiB"
