"""``lrps cancel``: cancels a campaign's Slurm jobs, and those that would wait for them for ever."""

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import PathOption, PlanArgument
from megatron_lrps.cli.slurm_jobs import job_names
from megatron_lrps.launch.slurm import client
from megatron_lrps.launch.slurm.job_history import active, followers, record


def cancel(plan: PlanArgument, path: PathOption = None) -> None:
    """Cancel the Slurm jobs of a campaign. Running jobs save first."""
    campaign = Campaign.open(plan)
    found = active(campaign.folder)
    jobs = [job for job, _ in found.values() if path in (None, job.path)]
    if path is not None and not jobs:
        campaign.path(path)  # refuses a name that no path has
    if not jobs:
        typer.echo("There is no job that waits or runs.")
        return
    behind = followers(found, {job.id for job in jobs})
    numbers = [job.id for job in (*jobs, *behind)]
    client.cancel(numbers)
    record(campaign.folder, "cancelled", jobs=numbers)
    typer.echo(f"Cancelled: {job_names(jobs)}.")
    if behind:
        typer.echo(f"Cancelled too, as they follow them: {job_names(behind)}.")
    typer.echo("lrps submit submits again what is missing.")
