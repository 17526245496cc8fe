"""A checkpoint: one folder that Megatron has saved, and all those of a path.

``<save>/paths/<path>/checkpoints`` is Megatron's ``--save`` folder. It holds ``iter_0000100`` and so on, and Megatron's
tracker, the file that names the iteration from which stock Megatron resumes.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.campaign.manifest import Damage, Manifest, damaged_contents, damaged_sizes, read_manifest

ITERATION = re.compile(r"iter_(\d{7,})\Z")
TRACKER = "latest_checkpointed_iteration.txt"
"""Megatron's file beside the checkpoints: the iteration that stock resumes from."""


@dataclass(frozen=True, order=True)
class Checkpoint:
    """One checkpoint, whether it is there or not.

    Attributes:
        save: Megatron's ``--save`` folder.
        iteration: The last iteration that it holds.
    """

    save: Path
    iteration: int

    @property
    def folder(self) -> Path:
        """Its own folder, as Megatron names it."""
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
        """What its files must be; None where it has no manifest, or a damaged one."""
        return read_manifest(self.folder)

    @property
    def digest(self) -> str | None:
        """One hash for the whole checkpoint; None before the hashes were taken, and where it has no manifest."""
        manifest = self.manifest
        return manifest.digest if manifest else None

    def damages(self) -> list[Damage]:
        """The files that are missing, or have another size than they were saved with."""
        return damaged_sizes(self.folder)

    def damaged_contents(self, *, part: int = 0, parts: int = 1) -> list[Damage]:
        """The files whose content is not what was saved; none where no hashes were taken.

        Args:
            part: Which share of the files to read, as each rank reads one.
            parts: How many shares there are.
        """
        return damaged_contents(self.folder, part=part, parts=parts)

    def __str__(self) -> str:
        return str(self.folder)


@dataclass(frozen=True)
class Checkpoints:
    """What a ``--save`` folder holds, as it was when it was looked at.

    Attributes:
        save: The ``--save`` folder.
        complete: Iterations of the checkpoints that were finished, rising.
        torn: Iterations of those whose save was cut off, rising.
    """

    save: Path
    complete: tuple[int, ...]
    torn: tuple[int, ...]

    @classmethod
    def in_folder(cls, save: Path) -> "Checkpoints":
        """Look at a ``--save`` folder; one that is not there holds none."""
        complete: list[int] = []
        torn: list[int] = []
        if save.is_dir():
            for entry in save.iterdir():
                match = ITERATION.match(entry.name)
                # Another spelling of the same number would not be found by its iteration.
                if match and entry.name == Checkpoint(save, int(match[1])).folder.name and entry.is_dir():
                    (complete if is_complete(entry) else torn).append(int(match[1]))
        return cls(save, tuple(sorted(complete)), tuple(sorted(torn)))

    @property
    def newest(self) -> int | None:
        """The last complete iteration, or None."""
        return self.complete[-1] if self.complete else None

    def at(self, iteration: int) -> Checkpoint:
        """The checkpoint of an iteration, there or not."""
        return Checkpoint(self.save, iteration)


def is_complete(folder: Path) -> bool:
    """Whether a folder is a torch_dist checkpoint that was finished: both metadata files are written last."""
    try:
        files = [folder / name for name in (".metadata", "metadata.json")]
        return all(file.is_file() and file.stat().st_size for file in files)
    except OSError:
        return False
