"""The files of a campaign on disk.

::

    <save>/plan.yaml                     the accepted plan
    <save>/paths/<path>/checkpoints/     Megatron's own layout
    <save>/paths/<path>/path.json        lineage record
    <save>/paths/<path>/events.jsonl     append-only history
    <save>/paths/<path>/pins.json        checkpoints that a user protects
    <save>/paths/<path>/owner.json       the job that writes here, with its heartbeat
    <save>/paths/<path>/doing.json       what that job does now, for display
    <save>/paths/<path>/cut.json         a request to that job, as save.json and stop.json
    <save>/paths/<path>/alerts.json      the state of its alert rules at its last save
    <save>/paths/<path>/tracked.json     the id of its run in W&B, MLflow and Comet
    <save>/paths/<path>/logs/            what the launcher's processes printed
    <save>/tensorboard/<path>/
    <save>/report/                       tables and pictures
"""

from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.plan import PlannedPath
from megatron_lrps.plan.flags import checkpoints_folder


@dataclass(frozen=True)
class PathFolder:
    """One path's files; ``root`` is ``<save>/paths/<path>``."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        """Megatron's ``--save`` folder of this path."""
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
        """The launcher's logs."""
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
        """Return the folder of the path ``name``."""
        return PathFolder(checkpoints_folder(self.root, name).parent)

    def origin(self, path: PlannedPath) -> Path | None:
        """Return the checkpoints that a path first starts from: its parent's, an adopted run's, or None."""
        return self.path(path.parent).checkpoints if path.parent is not None else path.adopted

    def parts_of(self, path: PlannedPath) -> list[Checkpoint]:
        """Return the checkpoints that a path is a mean of, oldest first; they need not exist yet."""
        return [Checkpoint(self.path(part.path).checkpoints, part.iteration) for part in path.mean]

    def tensorboard(self, name: str) -> Path:
        """Return TensorBoard's run folder of the path ``name``."""
        return self.root / "tensorboard" / name
