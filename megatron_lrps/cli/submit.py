"""``lrps submit``: submits a campaign as Slurm jobs that follow one another."""

from typing import TYPE_CHECKING, Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import PathOption, PlanArgument
from megatron_lrps.cli.paths_to_train import asked_paths, nothing_to_do
from megatron_lrps.cli.slurm_jobs import job_names
from megatron_lrps.launch.slurm import client
from megatron_lrps.launch.slurm.job_history import active
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan.parallel_layout import ranks_of

if TYPE_CHECKING:
    from megatron_lrps.launch.slurm.job_requests import Request

_ALL_HAVE_JOBS = "All that is missing has a job already; lrps status shows them."


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
    from megatron_lrps.campaign.accepted_plan import accept, refuse_contradiction
    from megatron_lrps.launch.layout_check import check_before_submit
    from megatron_lrps.launch.preflight import refuse_missing_files, require_all
    from megatron_lrps.launch.slurm import submission
    from megatron_lrps.launch.slurm.job_requests import refuse_missing_container, requests, slurm_of, unreleased
    from megatron_lrps.launch.untrained import unfinished

    campaign = Campaign.open(plan)
    tree = campaign.tree
    slurm = slurm_of(tree.plan)
    asked_paths(tree, path)
    refuse_missing_container(tree.plan)
    missing = [each for each in unfinished(tree, None) if path in (None, each.name)]
    if not missing and not [each for each in unreleased(tree) if path in (None, each.name)]:
        typer.echo(nothing_to_do(tree, path))
        return
    refuse_missing_files(tree.plan)
    refuse_contradiction(tree)
    require_all(tree, missing, ranks_of(tree.plan))
    jobs = requests(tree, path, active(campaign.folder))
    if dry_run:
        typer.echo(submission.as_shell(jobs) if jobs else _ALL_HAVE_JOBS)
        return
    if slurm.container and slurm.container_runtime == "pyxis":
        client.refuse_missing_pyxis()
    if jobs:
        first = jobs[0]
        if note := client.refuse_impossible(first.options, str(first.script), slurm.nodes, slurm.partition):
            typer.echo(note)
    if not no_check and any(not job.promotes for job in jobs) and (note := check_before_submit(tree)):
        typer.echo(note)
    accept(tree)
    submitted = submission.submit(tree, path, typer.echo)
    if not submitted:
        typer.echo(_ALL_HAVE_JOBS)
        return
    if old := [request.replaces for request, _, _ in submitted if request.replaces]:
        typer.echo(f"Cancelled, as they wait for jobs that did not end well: {job_names(old)}.\n")
    rows = [(number, request.part.path.name, _does(request), after or "-") for request, number, after in submitted]
    typer.echo(table(("job", "path", "does", "after"), rows))
    typer.echo(f"\n{len(submitted)} jobs submitted; lrps status {plan} shows them.")


def _does(request: "Request") -> str:
    return "promotion" if request.promotes else f"({request.part.start}, {request.part.until}]"
