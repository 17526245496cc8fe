"""Finds the checkpoint of a version. Imports no torch, so that a wrong name is refused at once."""

from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.lineage import Facts, facts_of, resolve
from megatron_lrps.errors import RefusedError


@dataclass(frozen=True)
class VersionCheckpoint:
    """A version and its checkpoint.

    Attributes:
        campaign: The campaign, with its accepted plan.
        name: The version or the path, as the user calls it.
        facts: The known facts of the path.
        checkpoint: The checkpoint.
        sha256: The hash of its manifest, or None.
    """

    campaign: Campaign
    name: str
    facts: Facts
    checkpoint: Checkpoint
    sha256: str | None

    @property
    def path(self) -> str:
        """The path of the checkpoint."""
        return self.facts.name

    @property
    def path_folder(self) -> PathFolder:
        """The folder of that path."""
        return self.campaign.folder.path(self.path)

    @property
    def iteration(self) -> int:
        """The iteration of the checkpoint."""
        return self.checkpoint.iteration

    @property
    def export(self) -> Path:
        """The folder that the version is exported to unless another is given."""
        return self.campaign.folder.root / "exports" / self.name


def find_version_checkpoint(plan_file: Path, name: str, iteration: int | None) -> VersionCheckpoint:
    """Return the checkpoint of a version: the end of its path, or that of ``iteration``.

    Raises:
        RefusedError: there is no such version or checkpoint; the message names the existing ones.
    """
    campaign = Campaign.open(plan_file).with_accepted()
    path = resolve(campaign, name)
    facts = facts_of(campaign, path)
    saved = Checkpoints.in_folder(campaign.folder.path(path).checkpoints)
    wanted = iteration if iteration is not None else facts.values.get("end")
    if wanted not in saved.complete:
        there = f"there are {', '.join(f'{each:,}' for each in saved.complete)}" if saved.complete else "there is none"
        end = f"{wanted:,}, where it ends" if iteration is None and wanted is not None else f"{wanted}"
        raise RefusedError(
            f"{path} has no checkpoint of iteration {end}; {there}.", "train it to its end, or give --iteration."
        )
    checkpoint = saved.at(wanted)
    return VersionCheckpoint(campaign, name, facts, checkpoint, checkpoint.digest)
