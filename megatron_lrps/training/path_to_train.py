"""The path that this process trains: its learning rate, folder, start and end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.record import log_event
from megatron_lrps.schedule import Batches, Schedule
from megatron_lrps.training.arguments import Planned


@dataclass(frozen=True, kw_only=True)
class PathToTrain:
    """A path for the process that trains it; constant while it is trained.

    Attributes:
        schedule: Its learning rate, from the first sample on.
        batches: The samples in each iteration, from the first on.
        own: Megatron's ``--save`` folder.
        parent: The checkpoints of its parent, or of the run that it adopts; None from scratch.
        fork: The iteration that it forks after, 0 from scratch.
        end: Its last iteration.
        until: The iteration that this process stops after, which is ``end`` unless the path is trained in parts.
        needed_saves: The iterations that must be saved because other paths fork there or are made of them.
        planned: The plan's side of it; None for a branch without a plan.
    """

    schedule: Schedule
    batches: Batches
    own: Path
    parent: Path | None
    fork: int
    end: int
    until: int
    needed_saves: frozenset[int] = frozenset()
    planned: Planned | None = None

    @classmethod
    def of_plan(cls, planned: Planned) -> "PathToTrain":
        """Return the path that a plan describes."""
        path, folder = planned.path, planned.campaign.folder
        return cls(
            schedule=path.schedule,
            batches=planned.tree.batches,
            own=folder.path(path.name).checkpoints,
            parent=folder.origin(path),
            fork=path.fork,
            end=path.end,
            until=planned.until or path.end,
            needed_saves=frozenset(planned.tree.needed_saves(path.name)),
            planned=planned,
        )

    @property
    def folder(self) -> PathFolder | None:
        """The path's folder in its campaign; None without a plan."""
        return PathFolder(self.own.parent) if self.planned else None

    @property
    def adopted(self) -> bool:
        """Whether ``parent`` is a run from outside the campaign that its main path continues."""
        return self.planned is not None and self.planned.path.adopted is not None

    def log(self, event: str, **fields: Any) -> None:
        """Append an event to the path's history, if it has one. Rank 0 does, and the last rank for an alert."""
        if self.folder is not None:
            log_event(self.folder, event, **fields)
