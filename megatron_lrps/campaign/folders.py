"""Where a campaign's things lie on disk.

::

    <save>/plan.yaml                     the accepted plan
    <save>/paths/<path>/checkpoints/     Megatron's own layout
    <save>/paths/<path>/path.json        lineage record
    <save>/paths/<path>/events.jsonl     append-only history
    <save>/paths/<path>/pins.json        checkpoints that a user protects
    <save>/paths/<path>/owner.json       the job that writes here, with its heartbeat
    <save>/paths/<path>/doing.json       what that job does now, for those who look
    <save>/paths/<path>/alerts.json      what its alert rules went by at its last save
    <save>/paths/<path>/logs/            what the launcher's processes printed
    <save>/tensorboard/<path>/
    <save>/report/                       tables and pictures
"""

import re
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.plan import PlannedPath
from megatron_lrps.plan.flags import checkpoints_folder

ITERATION = re.compile(r"iter_(\d{7,})\Z")
TRACKER = "latest_checkpointed_iteration.txt"
"""Megatron's file beside the checkpoints: the iteration that stock resumes from."""


@dataclass(frozen=True)
class PathFolder:
    """One path's files; ``root`` is ``<save>/paths/<path>``."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        """Megatron's ``--save`` of this path."""
        return self.root / "checkpoints"

    @property
    def record(self) -> Path:
        """The lineage record."""
        return self.root / "path.json"

    @property
    def events(self) -> Path:
        """The append-only history."""
        return self.root / "events.jsonl"

    @property
    def logs(self) -> Path:
        """Launcher logs."""
        return self.root / "logs"


@dataclass(frozen=True)
class CampaignFolder:
    """A campaign's files; ``root`` is the plan's ``save``, absolute."""

    root: Path

    @property
    def plan(self) -> Path:
        """The accepted plan."""
        return self.root / "plan.yaml"

    @property
    def report(self) -> Path:
        """Tables and pictures."""
        return self.root / "report"

    def path(self, name: str) -> PathFolder:
        """The folder of the path ``name``."""
        return PathFolder(checkpoints_folder(self.root, name).parent)

    def origin(self, path: PlannedPath) -> Path | None:
        """The checkpoints that a path starts from the first time: its parent's, an adopted run's, or none."""
        return self.path(path.parent).checkpoints if path.parent is not None else path.adopted

    def tensorboard(self, name: str) -> Path:
        """TensorBoard's run folder of the path ``name``."""
        return self.root / "tensorboard" / name


def checkpoint(checkpoints: Path, iteration: int) -> Path:
    """A checkpoint's folder, as Megatron names it."""
    return checkpoints / f"iter_{iteration:07d}"


def is_complete(folder: Path) -> bool:
    """Whether a torch_dist checkpoint was finished: both metadata files are written last."""
    try:
        files = [folder / name for name in (".metadata", "metadata.json")]
        return all(file.is_file() and file.stat().st_size for file in files)
    except OSError:
        return False


def is_legacy(folder: Path) -> bool:
    """Whether a checkpoint is in Megatron's older format (``--ckpt-format torch``), which nothing here reads."""
    return any(folder.glob("mp_rank_*"))


def checkpoints_in(checkpoints: Path) -> tuple[list[int], list[int]]:
    """Iterations of (complete, torn) checkpoints in a ``--save`` folder, rising."""
    complete: list[int] = []
    torn: list[int] = []
    if checkpoints.is_dir():
        for entry in checkpoints.iterdir():
            match = ITERATION.match(entry.name)
            # Another spelling of the same number would not be found by its iteration.
            if match and entry.name == checkpoint(checkpoints, int(match[1])).name and entry.is_dir():
                (complete if is_complete(entry) else torn).append(int(match[1]))
    return sorted(complete), sorted(torn)
