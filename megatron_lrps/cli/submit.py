"""``lrps submit`` and ``lrps cancel``: a campaign as jobs of a Slurm cluster, and what they do."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.cli.run import nothing_to_do, shown_paths
from megatron_lrps.launch.slurm import client
from megatron_lrps.launch.slurm.job_history import Job, active, followers, record
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.plan.parallel_layout import ranks_of

if TYPE_CHECKING:
    from megatron_lrps.launch.slurm.job_requests import Request

_ALL_HAVE_JOBS = "All that is missing has a job already; lrps status shows them."


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
    from megatron_lrps.campaign.accepted_plan import accept, refuse_contradiction
    from megatron_lrps.launch.layout_check import check_before_submit
    from megatron_lrps.launch.preflight import refuse_missing_files, require_all
    from megatron_lrps.launch.slurm.job_requests import refuse_missing_container, requests, slurm_of, unreleased
    from megatron_lrps.launch.slurm.submission import as_shell, submit
    from megatron_lrps.launch.untrained import unfinished

    tree = expand(load_plan(plan_file))
    slurm = slurm_of(tree.plan)
    shown_paths(tree, path)
    refuse_missing_container(tree.plan)
    missing = [each for each in unfinished(tree, None) if path in (None, each.name)]
    if not missing and not [each for each in unreleased(tree) if path in (None, each.name)]:
        typer.echo(nothing_to_do(tree, path))
        return
    refuse_missing_files(tree.plan)
    refuse_contradiction(tree)
    require_all(tree, missing, ranks_of(tree.plan))
    campaign = CampaignFolder(tree.plan.folder)
    jobs = requests(tree, path, active(campaign))
    if dry_run:
        typer.echo(as_shell(jobs) if jobs else _ALL_HAVE_JOBS)
        return
    if slurm.container and slurm.container_runtime == "pyxis":
        client.refuse_missing_pyxis()
    if jobs:
        first = jobs[0]
        if note := client.refuse_impossible(first.options, str(first.script), slurm.nodes, slurm.partition):
            typer.echo(note)
    if check and any(not job.promotes for job in jobs) and (note := check_before_submit(tree)):
        typer.echo(note)
    accept(tree)
    submitted = submit(tree, path, typer.echo)
    if not submitted:
        typer.echo(_ALL_HAVE_JOBS)
        return
    if old := [request.replaces for request, _, _ in submitted if request.replaces]:
        typer.echo(f"Cancelled, as they wait for jobs that did not end well: {_named(old)}.\n")
    rows = [(number, request.part.path.name, _does(request), after or "-") for request, number, after in submitted]
    typer.echo(table(("job", "path", "does", "after"), rows))
    typer.echo(f"\n{len(submitted)} jobs submitted; lrps status {plan_file} shows them.")


def _does(request: "Request") -> str:
    return "promotion" if request.promotes else f"({request.part.start}, {request.part.until}]"


def cancel_jobs(plan_file: Path, path: str | None) -> None:
    """Cancel the jobs of a campaign, or of one path; raises RefusedError."""
    tree = expand(load_plan(plan_file))
    campaign = CampaignFolder(tree.plan.folder)
    found = active(campaign)
    jobs = [job for job, _ in found.values() if path in (None, job.path)]
    if path is not None and not jobs:
        tree.path(path)
    if not jobs:
        typer.echo("There is no job that waits or runs.")
        return
    behind = followers(found, {job.id for job in jobs})
    numbers = [job.id for job in (*jobs, *behind)]
    client.cancel(numbers)
    record(campaign, "cancelled", jobs=numbers)
    typer.echo(f"Cancelled: {_named(jobs)}.")
    if behind:
        typer.echo(f"Cancelled too, as they follow them: {_named(behind)}.")
    typer.echo("lrps submit submits again what is missing.")


def _named(jobs: list[Job]) -> str:
    return ", ".join(f"{job.id} ({job})" for job in jobs)
