"""``lrps submit`` and ``lrps cancel``: a campaign as jobs of a Slurm cluster."""

from pathlib import Path

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.launch.executor import EXECUTORS
from megatron_lrps.launch.slurm.slurm_executor import SlurmExecutor


def submit_plan(plan_file: Path, path: str | None, *, dry_run: bool, check: bool = True) -> None:
    """Submit what is missing of a campaign, or of one path, and has no job yet.

    Args:
        plan_file: The plan.
        path: One path's name, or None for all.
        dry_run: Print the jobs as a shell script instead; the plan is not accepted then.
        check: Ask Megatron first whether it can train the plan, where it is on this machine.

    Raises:
        LrpsError: whose exit code says why nothing was submitted.
    """
    campaign, slurm = Campaign.open(plan_file), SlurmExecutor(check=check)
    if dry_run:
        typer.echo(slurm.dry_run(campaign, path))
    elif started := slurm.start(campaign, path, typer.echo):
        typer.echo(f"\n{started} jobs submitted; lrps status {plan_file} shows them.")


def cancel_jobs(plan_file: Path, path: str | None) -> None:
    """Cancel the jobs of a campaign, or of one path; raises RefusedError."""
    campaign = Campaign.open(plan_file)
    cancelled = [executor.cancel(campaign, path, typer.echo) for executor in EXECUTORS.values()]
    if not any(cancelled):
        if path is not None:
            campaign.path(path)
        typer.echo("There is no job that waits or runs.")
