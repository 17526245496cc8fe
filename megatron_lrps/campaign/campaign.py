"""A campaign: the tree of paths that its plan draws, and the folder that they lie in."""

from dataclasses import dataclass, replace
from pathlib import Path

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan import Plan, PlannedPath, Tree, expand, load_plan
from megatron_lrps.plan.load import load_yaml, parse_mapping


@dataclass(frozen=True)
class Campaign:
    """All that one plan describes.

    Attributes:
        tree: The paths and windows that the plan draws.
        accepted: The same of the plan that the campaign goes by, once ``with_accepted`` has read it and there is one.
    """

    tree: Tree
    accepted: Tree | None = None

    @classmethod
    def open(cls, plan_file: Path | str) -> "Campaign":
        """Read a plan and draw its tree of paths; nothing needs to be on disk yet but the plan.

        Raises:
            PlanError: The plan is wrong, in one line.
        """
        return cls(expand(load_plan(plan_file)))

    def with_accepted(self) -> "Campaign":
        """The same with the accepted plan as it is on disk now.

        Raises:
            RefusedError: The accepted plan is damaged.
        """
        file = self.folder.plan
        if not file.is_symlink() and not file.exists():
            return replace(self, accepted=None)
        try:
            # A campaign is where its folder is: a plan accepted by lrps 0.1 says where that was once.
            keys = load_yaml(file, "plan") | {"save": str(self.folder.root)}
            return replace(self, accepted=expand(parse_mapping(keys, base=self.folder.root)))
        except PlanError as error:
            raise RefusedError(
                f"The accepted plan {file} is damaged, and its paths' fork points are unknown: {error.what}",
                "restore it; or where the given plan names all paths, put a copy of that in its place.",
            ) from None

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

    @property
    def trees(self) -> list[Tree]:
        """The given plan's tree, then the accepted plan's where it was read: either may need what lies on disk."""
        return [self.tree] if self.accepted is None else [self.tree, self.accepted]

    def path(self, name: str) -> PlannedPath:
        """The path of that name; raises PlanError naming those that exist."""
        return self.tree.path(name)
