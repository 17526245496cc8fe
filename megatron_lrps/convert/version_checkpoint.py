"""Which checkpoint a version is. Imports no torch, so that a wrong name is refused at once."""

from pathlib import Path
from typing import NamedTuple

from megatron_lrps.campaign.folders import CampaignFolder, checkpoint, checkpoints_in
from megatron_lrps.campaign.lineage import Facts, facts_of, resolve
from megatron_lrps.campaign.manifest import read_manifest
from megatron_lrps.campaign.removal import trees_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Tree, expand, load_plan


class VersionCheckpoint(NamedTuple):
    """A version's checkpoint.

    Attributes:
        tree: The plan's.
        trees: The plan's and the accepted one's.
        campaign: Its folder.
        version: As the user calls it.
        facts: Of the path.
        iteration: The checkpoint's.
        sha256: Of its manifest, or None.
    """

    tree: Tree
    trees: list[Tree]
    campaign: CampaignFolder
    version: str
    facts: Facts
    iteration: int
    sha256: str | None

    @property
    def folder(self) -> Path:
        """The checkpoint."""
        return checkpoint(self.campaign.path(self.facts.name).checkpoints, self.iteration)

    @property
    def target(self) -> Path:
        """Where it is exported to unless told otherwise."""
        return self.campaign.root / "exports" / self.version


def find_version_checkpoint(plan_file: Path, version: str, iteration: int | None) -> VersionCheckpoint:
    """A version's checkpoint: that of its path's end, or of ``iteration``.

    Raises:
        RefusedError: there is no such version or checkpoint, naming those there are.
    """
    tree = expand(load_plan(plan_file))
    campaign, trees = CampaignFolder(tree.plan.folder), trees_of(tree)
    name = resolve(campaign, trees, version)
    facts = facts_of(campaign, trees, name)
    complete, _ = checkpoints_in(campaign.path(name).checkpoints)
    wanted = iteration if iteration is not None else facts.values.get("end")
    if wanted not in complete:
        there = f"there are {', '.join(f'{each:,}' for each in complete)}" if complete else "there is none"
        end = f"{wanted:,}, where it ends" if iteration is None and wanted is not None else f"{wanted}"
        raise RefusedError(
            f"{name} has no checkpoint of iteration {end}; {there}.", "train it to its end, or give --iteration."
        )
    manifest = read_manifest(checkpoint(campaign.path(name).checkpoints, wanted))
    return VersionCheckpoint(tree, trees, campaign, version, facts, wanted, manifest.digest if manifest else None)
