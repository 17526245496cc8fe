"""What a container must see of the host."""

import os
from collections.abc import Iterator
from pathlib import Path

from megatron_lrps.plan import Plan

_HOPS = 40  # the kernel's own limit


def mountable(folder: Path) -> bool:
    """Whether a list of mounts can hold it."""
    return not set(",:") & set(str(folder))


def mounts(plan: Plan) -> list[Path]:
    """Folders that the ranks and promotions read and write: the campaign's, and those of what the plan names."""
    prefixes = [prefix for version in plan.versions for _, prefix in version.train]
    prefixes += [prefix for version in plan.versions for prefix in version.valid.values()]
    files = [Path(f"{plan.resolve(prefix)}.{end}") for prefix in prefixes for end in ("bin", "idx")]
    if plan.tokenizer and plan.tokenizer.model:
        files += _with_content(plan.resolve(plan.tokenizer.model))
    if plan.promote and plan.promote.gate:
        files.append(plan.resolve(plan.promote.gate))
    if plan.hook and "/" in plan.hook[0]:
        files.append(Path(plan.hook[0]))
    folders = [plan.folder, *(folder for file in files for folder in _folders(file))]
    if plan.evaluate.task_folder:
        folders.append(plan.resolve(plan.evaluate.task_folder))
    if plan.launch.slurm:
        folders += [Path(folder) for folder in plan.launch.slurm.mounts]
    return list(dict.fromkeys(folders))


def _with_content(model: Path) -> list[Path]:
    """A tokenizer's file; or its folder, with the files in it, which a cache of models links to."""
    return [model, *sorted(model.iterdir())] if model.is_dir() else [model]


def _folders(file: Path) -> Iterator[Path]:
    """Where a file lies, and every file that it links to on the way to its content."""
    yield file.parent
    for _ in range(_HOPS):
        if not file.is_symlink():
            break
        file = Path(os.path.normpath(file.parent / file.readlink()))
        yield file.parent
    yield file.resolve().parent
