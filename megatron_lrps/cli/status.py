"""``lrps status``: where every path stands, who trains it, its alerts and its Slurm jobs."""

import json
from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.standing import LATEST, alert_words, standing, state_words
from megatron_lrps.cli.job_text import job_text
from megatron_lrps.cli.options import JsonOption, PlanArgument
from megatron_lrps.cli.owner_facts import owner_facts
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.executor import jobs_of
from megatron_lrps.monitor.text_table import table
from megatron_lrps.storage.ownership import holder


def status(
    plan: PlanArgument,
    as_json: JsonOption = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep showing losses, pace and alerts until all paths are trained.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.2, help="With --watch: seconds between two updates.")] = 5.0,
) -> None:
    """Show where every path stands."""
    if watch:
        if as_json:
            raise RefusedError("--watch shows lines, and --json is one object.", "give one of them.")
        from megatron_lrps.cli.status_watch import watch_status  # rich comes with it

        watch_status(plan, every=every)
        return
    campaign = Campaign.open(plan)
    owners = {path.name: holder(campaign.folder.path(path.name).root) for path in campaign.paths}
    paths = [
        standing(campaign.folder, path, owners[path.name]) | {"holder": owner_facts(owners[path.name])}
        for path in campaign.paths
    ]
    jobs = jobs_of(campaign.folder)
    for facts in paths if jobs is not None else ():
        facts["jobs"] = (jobs or {}).get(facts["name"], [])
    left = sum(path["iterations_left"] for path in paths)
    if as_json:
        facts = {
            "campaign": campaign.plan.campaign,
            "save": str(campaign.folder.root),
            "iterations_left": left,
            "paths": paths,
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    rows = [
        (
            path["name"],
            state_words(path),
            "-" if path["saved"] is None else path["saved"],
            path["end"],
            f"{path['last_event']['event']} {path['last_event']['time']}" if path["last_event"] else "-",
            *([job_text(path["jobs"])] if jobs is not None else []),
        )
        for path in paths
    ]
    typer.echo(table(("path", "state", "saved", "end", "last event", *(["job"] if jobs is not None else [])), rows))
    typer.echo("".join(f"\n{path.name} is {path.origin}\n" for path in campaign.paths if path.adopted), nl=False)
    for path in paths:
        if owner := owners[path["name"]]:
            typer.echo(f"\n{path['name']}: being trained by {owner}")
        if path["alerts"]:
            typer.echo(f"\n{path['name']}: {alert_words(path['alerts'][-1])}{_more(len(path['alerts']) - 1)}")
        for iteration in path["torn"]:
            typer.echo(f"\n{path['name']}: checkpoint {iteration} is not whole; it is never used")
    typer.echo(f"\n{left:,} iterations left of {sum(path.iterations for path in campaign.paths):,}")


def _more(count: int) -> str:
    return f"; {count} {'more' if count < LATEST - 1 else 'or more'} before it" if count else ""
