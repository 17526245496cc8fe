"""Executors train a campaign: `lrps run` on this machine, `lrps submit` on a Slurm cluster.

Each executor is a folder beside this file, named after its key under ``launch:`` in the plan, and a line in
``EXECUTORS``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.launch.local.local_executor import LocalExecutor
from megatron_lrps.launch.slurm.slurm_executor import SlurmExecutor


class Executor(Protocol):
    """Trains the missing parts of a campaign."""

    def start(self, campaign: Campaign, only: str | None, say: Callable[[str], None]) -> int:
        """Refuse what cannot train here, accept the plan, and start all missing training.

        Args:
            campaign: The campaign.
            only: The name of one path, or None for all paths.
            say: Prints a line for the user.

        Returns:
            The number of jobs that were started and still run.

        Raises:
            LrpsError: its exit code says why nothing was started, or how the training ended.
        """

    def jobs(self, folder: CampaignFolder) -> dict[str, list[dict[str, Any]]] | None:
        """Return the jobs of each path as ``lrps status --json`` prints them; None if there never was one."""

    def cancel(self, campaign: Campaign, only: str | None, say: Callable[[str], None]) -> bool:
        """Stop the jobs of a campaign, or of one path, and all that follow them; False if there are none."""


EXECUTORS: Mapping[str, Executor] = {"local": LocalExecutor(), "slurm": SlurmExecutor()}
"""All executors, by their keys under ``launch:`` in the plan."""


def jobs_of(folder: CampaignFolder) -> dict[str, list[dict[str, Any]]] | None:
    """Return the jobs of each path from all executors; None if the campaign never had a job."""
    found = [jobs for executor in EXECUTORS.values() if (jobs := executor.jobs(folder)) is not None]
    names = {name for jobs in found for name in jobs}
    return {name: [job for jobs in found for job in jobs.get(name, [])] for name in names} if found else None
