"""A campaign: the tree of paths that its plan draws, and the folder that they lie in."""

from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.plan import Plan, PlannedPath, Tree, expand, load_plan


@dataclass(frozen=True)
class Campaign:
    """All that one plan describes.

    Attributes:
        tree: Its paths and windows.
    """

    tree: Tree

    @classmethod
    def open(cls, plan_file: Path | str) -> "Campaign":
        """Read a plan and draw its tree of paths; nothing needs to be on disk yet but the plan.

        Raises:
            PlanError: The plan is wrong, in one line.
        """
        return cls(expand(load_plan(plan_file)))

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.tree.plan

    @property
    def folder(self) -> CampaignFolder:
        """Where its things lie on disk."""
        return CampaignFolder(self.plan.folder)

    @property
    def paths(self) -> tuple[PlannedPath, ...]:
        """Its paths, parents before children."""
        return self.tree.paths

    def path(self, name: str) -> PlannedPath:
        """The path of that name; raises PlanError naming those that exist."""
        return self.tree.path(name)
