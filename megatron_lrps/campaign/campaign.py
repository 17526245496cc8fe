"""A campaign: its tree of paths, and where each of its things lies on disk.

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

from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.plan import Plan, PlannedPath, Tree, expand, load_plan
from megatron_lrps.plan.flags import checkpoints_folder


@dataclass(frozen=True)
class PathFolder:
    """One path's files; ``root`` is ``<save>/paths/<path>``."""

    root: Path

    @property
    def save(self) -> Path:
        """Megatron's ``--save`` folder of this path."""
        return self.root / "checkpoints"

    @property
    def record(self) -> Path:
        """The lineage record, path.json."""
        return self.root / "path.json"

    @property
    def events(self) -> Path:
        """The append-only history."""
        return self.root / "events.jsonl"

    @property
    def logs(self) -> Path:
        """What the launcher's processes printed."""
        return self.root / "logs"

    def checkpoints(self) -> Checkpoints:
        """Its checkpoints, looked at now."""
        return Checkpoints.in_folder(self.save)

    def checkpoint(self, iteration: int) -> Checkpoint:
        """Its checkpoint of an iteration, there or not."""
        return Checkpoint(self.save, iteration)


@dataclass(frozen=True)
class Campaign:
    """All that one plan describes, and its folder."""

    tree: Tree

    @classmethod
    def open(cls, plan_file: Path | str) -> "Campaign":
        """Read a plan and draw its tree of paths; nothing on disk needs to be there yet.

        Raises:
            PlanError: The plan is wrong, in one line.
        """
        return cls(expand(load_plan(plan_file)))

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.tree.plan

    @property
    def root(self) -> Path:
        """The plan's ``save``, absolute."""
        return self.plan.folder

    @property
    def paths(self) -> tuple[PlannedPath, ...]:
        """Its paths, parents before children."""
        return self.tree.paths

    @property
    def accepted_plan(self) -> Path:
        """The accepted plan: a copy of the plan that the campaign goes by."""
        return self.root / "plan.yaml"

    @property
    def report(self) -> Path:
        """Tables and pictures."""
        return self.root / "report"

    def path(self, name: str) -> PlannedPath:
        """The planned path of that name; raises PlanError naming those that exist."""
        return self.tree.path(name)

    def folder(self, path: PlannedPath | str) -> PathFolder:
        """A path's files; also those of a path that no plan names any more."""
        name = path if isinstance(path, str) else path.name
        return PathFolder(checkpoints_folder(self.root, name).parent)

    def origin(self, path: PlannedPath) -> Checkpoints | None:
        """The checkpoints that a path starts from the first time: its parent's, an adopted run's, or none."""
        if path.parent is not None:
            return self.folder(path.parent).checkpoints()
        return Checkpoints.in_folder(path.adopted) if path.adopted else None

    def tensorboard(self, name: str) -> Path:
        """TensorBoard's run folder of the path ``name``."""
        return self.root / "tensorboard" / name
