"""``lrps cancel``: cancels the jobs of a campaign, and those that would wait for them for ever."""

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import PathOption, PlanArgument
from megatron_lrps.launch.executor import EXECUTORS


def cancel(plan: PlanArgument, path: PathOption = None) -> None:
    """Cancel the Slurm jobs of a campaign. Running jobs save first."""
    campaign = Campaign.open(plan)
    cancelled = [executor.cancel(campaign, path, typer.echo) for executor in EXECUTORS.values()]
    if not any(cancelled):
        if path is not None:
            campaign.path(path)  # refuses a name that no path has
        typer.echo("There is no job that waits or runs.")
