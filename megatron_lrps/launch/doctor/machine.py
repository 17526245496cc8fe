"""This machine's libraries, GPUs, Slurm, containers, and the file system of a folder.

A process of its own (``library_probe``) imports the libraries, because a broken one can end its process.
"""

import contextlib
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_lrps.launch.doctor.library_probe import MODULES
from megatron_lrps.plan.async_saves import NVRX, installed

PROBE = "megatron_lrps.launch.doctor.library_probe"
LIBRARIES = (
    *("sentencepiece", "tokenizers", "transformers", "tiktoken", "gigatoken", "tensorboard", "matplotlib"),
    NVRX,
)
SLURM = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
CONTAINERS = ("enroot", "apptainer", "singularity", "docker", "podman")
_INFINIBAND = Path("/sys/class/infiniband")
_TIMEOUT_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The file system of a folder.

    Attributes:
        folder: The folder, or the nearest folder above it that exists.
        kind: ``ext4``, ``lustre``, ``nfs4``, ...; ``?`` if the kernel does not say.
        free_bytes: The free space for this user.
        missing: The missing features, out of ``write``, ``rename``, ``fsync``, ``hard links``, ``symbolic links`` and
            ``locks``.
    """

    folder: str
    kind: str
    free_bytes: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The software and hardware of this machine.

    Attributes:
        python: The version of Python.
        modules: The probe's answer for each of its ``MODULES``; it holds ``error`` if the module does not import.
        libraries: The version of each of ``LIBRARIES``, or None if it is not installed.
        commands: The path of each command of ``SLURM`` and ``CONTAINERS``, or None.
        infiniband: The names of the InfiniBand adapters.
        cores: The number of cores that this process may use.
        storage: The file system of the requested folder.
    """

    python: str = field(default_factory=platform.python_version)
    modules: dict[str, dict[str, Any]]
    libraries: dict[str, str | None]
    commands: dict[str, str | None]
    infiniband: tuple[str, ...]
    cores: int
    storage: Storage

    def version(self, module: str) -> str | None:
        """Return the version of a module, or None if it does not import."""
        return self.modules[module].get("version")

    @property
    def gpus(self) -> list[dict[str, Any]]:
        """The GPUs that torch finds: ``name``, ``bytes`` of memory, and ``capability`` as [major, minor]."""
        found: list[dict[str, Any]] = self.modules["torch"].get("gpus", [])
        return found


def look(folder: Path) -> Machine:
    """Find out what this machine has; ``folder`` is the folder for checkpoints."""
    adapters: tuple[str, ...] = ()
    with contextlib.suppress(OSError):
        adapters = tuple(sorted(entry.name for entry in _INFINIBAND.iterdir()))
    return Machine(
        modules=_probe(),
        libraries={name: installed(name) for name in LIBRARIES},
        commands={name: shutil.which(name) for name in (*SLURM, *CONTAINERS)},
        infiniband=adapters,
        cores=len(os.sched_getaffinity(0)),
        storage=look_at(folder),
    )


def _probe() -> dict[str, dict[str, Any]]:
    ended = f"the import does not end within {_TIMEOUT_S:.0f} s"
    try:
        done = subprocess.run(
            [sys.executable, "-m", PROBE], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        output, ended = done.stdout, f"the import ends the process, code {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
    found: dict[str, dict[str, Any]] = {}
    for line in output.splitlines():
        with contextlib.suppress(ValueError):  # a line that a library printed during its import
            if isinstance(answer := json.loads(line), dict) and answer.get("module") in MODULES:
                found[answer.pop("module")] = answer
    for name in MODULES:
        if name not in found:
            found[name], ended = {"error": ended}, "not tried after the one before"
    return found


def look_at(folder: Path) -> Storage:
    """Test the file system of a folder, which need not exist yet; all test files are removed."""
    place = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    missing: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix=".lrps-doctor-", dir=place) as scratch:
            missing += [name for name, attempt in _ABILITIES.items() if not _succeeds(attempt, Path(scratch))]
    except OSError:
        missing.append("write")
    return Storage(
        folder=str(place), kind=_kind(place), free_bytes=shutil.disk_usage(place).free, missing=tuple(missing)
    )


def _succeeds(attempt: Callable[[Path, Path], object], scratch: Path) -> bool:
    file, other = scratch / "a", scratch / "b"
    try:
        other.unlink(missing_ok=True)
        file.write_bytes(b"x")
        attempt(file, other)
    except OSError:
        return False
    return True


def _fsync(file: Path, other: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _lock(file: Path, other: Path) -> None:
    with file.open("rb+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


_ABILITIES: dict[str, Callable[[Path, Path], object]] = {
    "rename": lambda file, other: file.replace(other),
    "fsync": _fsync,
    "hard links": os.link,
    "symbolic links": os.symlink,
    "locks": _lock,
}


def _kind(place: Path) -> str:
    """Return the type of a folder's file system, from the kernel's list of mounts."""
    found, kind = "", "?"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, mount, name, *_ = line.split(" ")
            mount = mount.replace("\\040", " ")
            if place.resolve().is_relative_to(mount) and len(mount) >= len(found):
                found, kind = mount, name
    return kind
