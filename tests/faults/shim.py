"""Faults of a disk and of a clock: ``shim.c``, compiled when it is first needed, and armed by a file.

Debian's libraries for this break real ranks before any fault: with libfiu 1.1 they abort (a double free), and its
faults know no paths; with libfaketime 0.9.10 every ``time.sleep`` of Python 3.11 or newer fails (EINVAL), unless it
also moves the monotonic clock, which no clock that is set does.
"""

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

KINDS = {
    "EIO": "EIO",
    "ENOSPC": "ENOSPC",
    "EIO of fsync": "fsync 5",
    "EDQUOT of fsync": "fsync 122",
    "ESTALE of rename": "rename 116",
    "short writes": "short",
    "a day later": "clock 86400",
    "a day earlier": "clock -86400",
}
"""Name of a fault -> what the file holds."""


@dataclass(frozen=True)
class Shim:
    """The library for the processes of one campaign.

    Attributes:
        library: The compiled library.
        folder: The campaign's folder.
    """

    library: Path
    folder: Path

    @classmethod
    def compiled(cls, work: Path, folder: Path) -> "Shim":
        """Compile the library below ``work`` if it is not there; needs ``cc``."""
        library = work / "shim.so"
        source = Path(__file__).with_name("shim.c")
        if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
            work.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
        return cls(library, folder)

    @property
    def environment(self) -> dict[str, str]:
        """What the processes are started with."""
        return {
            "LD_PRELOAD": str(self.library),
            "LRPS_FAULT_ARMED": str(self._armed),
            "LRPS_FAULT_FOLDER": str(self.folder),
        }

    @property
    def prefix(self) -> tuple[str, ...]:
        """What they are started by: nothing else."""
        return ()

    def arm(self, kind: str, processes: Iterable[int] = ()) -> None:
        """Let the fault of this name happen from now on."""
        temporary = self._armed.with_suffix(".tmp")
        temporary.write_text(KINDS[kind])
        temporary.replace(self._armed)

    def disarm(self) -> None:
        """Let all be as it should be."""
        self._armed.unlink(missing_ok=True)

    @property
    def _armed(self) -> Path:
        return self.folder / "armed"


def has_compiler() -> bool:
    """Whether this machine has ``cc``."""
    return shutil.which("cc") is not None
