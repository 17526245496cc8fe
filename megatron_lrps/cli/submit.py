"""``lrps submit``: submits a campaign as Slurm jobs that follow one another."""

from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import PathOption, PlanArgument
from megatron_lrps.launch.slurm.slurm_executor import SlurmExecutor


def submit(
    plan: PlanArgument,
    path: PathOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the jobs and scripts; submit nothing.")] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not first ask Megatron on this machine whether the plan can train.")
    ] = False,
) -> None:
    """Submit what is missing as Slurm jobs.

    The jobs follow one another. A path that has a job already gets no second one.
    """
    campaign, slurm = Campaign.open(plan), SlurmExecutor(check=not no_check)
    if dry_run:
        typer.echo(slurm.dry_run(campaign, path))
    elif started := slurm.start(campaign, path, typer.echo):
        typer.echo(f"\n{started} jobs submitted; lrps status {plan} shows them.")
