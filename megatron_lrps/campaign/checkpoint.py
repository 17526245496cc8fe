"""A checkpoint, which is one folder that Megatron has saved, and all checkpoints of a path.

``<save>/paths/<path>/checkpoints`` is Megatron's ``--save`` folder. It holds ``iter_0000100`` and so on, and Megatron's
tracker, the file that names the iteration from which stock Megatron resumes.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.campaign.manifest import Damage, Manifest, damaged_contents, damaged_sizes, read_manifest

ITERATION = re.compile(r"iter_(\d{7,})\Z")
TRACKER = "latest_checkpointed_iteration.txt"
"""Megatron's tracker file beside the checkpoints: the iteration that stock resumes from."""


@dataclass(frozen=True, order=True)
class Checkpoint:
    """One checkpoint, whether it exists or not.

    Attributes:
        save: Megatron's ``--save`` folder.
        iteration: The last iteration that it holds.
    """

    save: Path
    iteration: int

    @property
    def folder(self) -> Path:
        """The checkpoint's folder, as Megatron names it."""
        return self.save / f"iter_{self.iteration:07d}"

    @property
    def is_complete(self) -> bool:
        """Whether Megatron finished it: both metadata files of torch_dist are written last."""
        return is_complete(self.folder)

    @property
    def is_legacy(self) -> bool:
        """Whether it is in Megatron's older format (``--ckpt-format torch``), which nothing here reads."""
        return any(self.folder.glob("mp_rank_*"))

    @property
    def is_whole(self) -> bool:
        """Whether it was finished and has the files that its manifest lists, in their sizes."""
        return self.is_complete and not self.damages()

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of its files; None if it is missing or damaged."""
        return read_manifest(self.folder)

    @property
    def digest(self) -> str | None:
        """One hash for the whole checkpoint; None before the hashes were taken, or without a manifest."""
        manifest = self.manifest
        return manifest.digest if manifest else None

    def damages(self) -> list[Damage]:
        """Return the files that are missing or differ in size from what was saved."""
        return damaged_sizes(self.folder)

    def damaged_contents(self, *, part: int = 0, parts: int = 1) -> list[Damage]:
        """Return the files whose content is not what was saved; none if no hashes were taken.

        Args:
            part: The share of the files to read; each rank reads one share.
            parts: The number of shares.
        """
        return damaged_contents(self.folder, part=part, parts=parts)

    def __str__(self) -> str:
        return str(self.folder)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in a ``--save`` folder at the time it was read.

    Attributes:
        save: The ``--save`` folder.
        complete: Iterations of the finished checkpoints, rising.
        torn: Iterations of checkpoints whose save was cut off, rising.
    """

    save: Path
    complete: tuple[int, ...]
    torn: tuple[int, ...]

    @classmethod
    def in_folder(cls, save: Path) -> "Checkpoints":
        """Read a ``--save`` folder; a missing folder holds no checkpoints."""
        complete: list[int] = []
        torn: list[int] = []
        if save.is_dir():
            for entry in save.iterdir():
                match = ITERATION.match(entry.name)
                # A different spelling of the same number could not be found by its iteration.
                if match and entry.name == Checkpoint(save, int(match[1])).folder.name and entry.is_dir():
                    (complete if is_complete(entry) else torn).append(int(match[1]))
        return cls(save, tuple(sorted(complete)), tuple(sorted(torn)))

    @property
    def newest(self) -> int | None:
        """The last complete iteration, or None."""
        return self.complete[-1] if self.complete else None

    def at(self, iteration: int) -> Checkpoint:
        """Return the checkpoint of an iteration, whether it exists or not."""
        return Checkpoint(self.save, iteration)


def being_saved(folder: Path) -> Path:
    """Return the mark beside a checkpoint's folder that says that its save has not ended.

    Megatron-Bridge writes the position after both metadata files: without the mark, a save that was cut off between
    them would look finished.
    """
    return folder.with_name(f".{folder.name}.saving")


def is_complete(folder: Path) -> bool:
    """Whether a folder is a finished torch_dist checkpoint: both metadata files are written last."""
    try:
        if being_saved(folder).exists():
            return False
        files = [folder / name for name in (".metadata", "metadata.json")]
        return all(file.is_file() and file.stat().st_size for file in files)
    except OSError:
        return False
