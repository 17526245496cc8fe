"""The host folders that a container must mount."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_lrps.plan import Plan
from megatron_lrps.plan.file_paths import paths_in

_HOPS = 40  # the kernel's own limit


def mountable(folder: Path) -> bool:
    """Whether a folder's name can be written in a list of mounts."""
    return not set(",:") & set(str(folder))


def mounts(plan: Plan) -> list[Path]:
    """Return the folders that ranks and promotions use: the campaign's, and those of all files in the plan."""
    # Only programs outside the container read the raw text (`lrps prepare`) and the site file (the batch script).
    texts: dict[str, Any] = {"sources": True, "branch": {"sources"}}
    outside = {"save": True, "versions": {"__all__": texts}, "branch": {"sources"}, "megatron": True, "launch": True}
    named = paths_in(plan, exclude=outside)
    folders = [plan.folder, *(folder for path in named for file in _files_of(path) for folder in _folders(file))]
    folders += [there for path in paths_in(plan, include={"megatron": True}) for there in _nearest(path)]
    folders += plan.launch.slurm.mounts if plan.launch.slurm else ()
    return list(dict.fromkeys(folders))


def _files_of(path: Path) -> list[Path]:
    """Return the files behind a plan's path: a folder with its files, which may be links; an index; or a file."""
    if path.is_dir():
        return [path, path / "*", *sorted(path.iterdir())]
    pair = [Path(f"{path}.{end}") for end in ("bin", "idx")]
    return pair if any(file.exists() for file in pair) else [path]


def _nearest(path: Path) -> list[Path]:
    """Return a path's nearest existing parent folder, because the run may create what a flag names."""
    return [folder for folder in (path, *path.parents) if folder.is_dir() and folder != folder.parent][:1]


def _folders(file: Path) -> Iterator[Path]:
    """Yield the folder of a file, and of each link on the way to its content."""
    yield file.parent
    for _ in range(_HOPS):
        if not file.is_symlink():
            break
        file = Path(os.path.normpath(file.parent / file.readlink()))
        yield file.parent
    yield file.resolve().parent
