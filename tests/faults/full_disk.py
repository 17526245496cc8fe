"""A campaign's disk that is full at some instant: its folder is on a tmpfs meanwhile, and a file takes all the room."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FULL = "a full disk"
_ROOM_BYTES = 256 << 20
"""What is free until then."""
_BLOCK = bytes(1 << 20)


def missing() -> str:
    """Return why no tmpfs can be mounted; nothing if one can."""
    return "" if os.geteuid() == 0 and shutil.which("mount") else "it takes root to mount a tmpfs"


@dataclass(frozen=True)
class FullDisk:
    """The disk of one campaign.

    Attributes:
        run: The folder that the campaign saves to.
    """

    run: Path

    @classmethod
    def mounted(cls, run: Path) -> "FullDisk":
        """Move a campaign's folder to a tmpfs."""
        disk = cls(run)
        disk.disarm()  # of a farm that was killed
        run.mkdir(exist_ok=True)
        taken = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
        shutil.rmtree(disk._kept, ignore_errors=True)
        run.rename(disk._kept)
        run.mkdir()
        size = f"size={2 * taken + _ROOM_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "lrps-faults", run], check=True)
        shutil.copytree(disk._kept, run, symlinks=True, dirs_exist_ok=True)
        return disk

    @property
    def environment(self) -> Mapping[str, str]:
        """What the processes are started with."""
        return {}

    @property
    def prefix(self) -> tuple[str, ...]:
        """What they are started by: nothing else."""
        return ()

    def arm(self, kind: str, processes: Iterable[int]) -> None:
        """Fill the disk."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while file.write(_BLOCK):
                pass

    def disarm(self) -> None:
        """Move the campaign's folder back."""
        if not self.run.is_mount():
            return
        self._ballast.unlink(missing_ok=True)
        back = self.run.with_name("run-back")
        shutil.rmtree(back, ignore_errors=True)
        shutil.copytree(self.run, back, symlinks=True)
        subprocess.run(["umount", "-l", self.run], check=True)
        self.run.rmdir()
        back.rename(self.run)
        shutil.rmtree(self._kept, ignore_errors=True)

    @property
    def _kept(self) -> Path:
        return self.run.with_name("run-on-disk")

    @property
    def _ballast(self) -> Path:
        return self.run / "ballast"
