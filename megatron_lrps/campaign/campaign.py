"""A campaign: the tree of paths that its plan describes, and the folder that holds them."""

from dataclasses import dataclass, replace
from pathlib import Path

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan import Plan, PlannedPath, Tree, expand, load_plan
from megatron_lrps.plan.load import load_yaml, parse_mapping


@dataclass(frozen=True)
class Campaign:
    """A campaign, as its plan describes it.

    Attributes:
        tree: The paths and windows of the given plan.
        accepted: The tree of the accepted plan, if there is one and ``with_accepted`` has read it.
    """

    tree: Tree
    accepted: Tree | None = None

    @classmethod
    def open(cls, plan_file: Path | str) -> "Campaign":
        """Read a plan and expand it to its tree of paths; only the plan needs to be on disk.

        Raises:
            PlanError: The plan is wrong, in one line.
        """
        return cls(expand(load_plan(plan_file)))

    def with_accepted(self) -> "Campaign":
        """Return this campaign with the accepted plan as it is on disk now.

        Raises:
            RefusedError: The accepted plan is damaged.
        """
        file = self.folder.plan
        if not file.is_symlink() and not file.exists():
            return replace(self, accepted=None)
        try:
            # The folder may have moved: a plan accepted by lrps 0.1 records its old place.
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
        """The folder of the campaign on disk."""
        return CampaignFolder(self.plan.folder)

    @property
    def paths(self) -> tuple[PlannedPath, ...]:
        """Its paths, parents before children."""
        return self.tree.paths

    @property
    def trees(self) -> list[Tree]:
        """The given plan's tree, then the accepted plan's if read: either may need the checkpoints on disk."""
        return [self.tree] if self.accepted is None else [self.tree, self.accepted]

    def path(self, name: str) -> PlannedPath:
        """Return the path of that name; raises PlanError naming those that exist."""
        return self.tree.path(name)
