"""``lrps status``: where every path stands, who trains it, its alerts and its Slurm jobs."""

import time
from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.stall import stall_of
from megatron_lrps.campaign.standing import LATEST, alert_words, standing_of
from megatron_lrps.cli.options import JsonOption, PlanArgument
from megatron_lrps.cli.printing import job_text, owner_facts, print_json
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.executor import jobs_of
from megatron_lrps.monitor.text_table import table
from megatron_lrps.storage.ownership import holder
from megatron_lrps.wording import counted


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
            raise RefusedError(
                "--watch and --json are both given, but --json prints one object, once.", "give one of them."
            )
        from megatron_lrps.cli.status_watch import watch_status  # rich comes with it

        watch_status(plan, every=every)
        return
    campaign = Campaign.open(plan)
    owners = {path.name: holder(campaign.folder.path(path.name).root) for path in campaign.paths}
    standings = [
        standing_of(campaign, path).held_by(campaign.folder.path(path.name), owners[path.name])
        for path in campaign.paths
    ]
    stalls = {each.path.name: stall_of(each.doing, campaign.plan.alerts, time.time()) for each in standings}
    jobs = jobs_of(campaign.folder)
    left = sum(each.iterations_left for each in standings)
    if as_json:
        facts = {
            "campaign": campaign.plan.campaign,
            "save": str(campaign.folder.root),
            "iterations_left": left,
            "paths": [
                {
                    **each.to_json(),
                    "holder": owner_facts(owners[each.path.name]),
                    "stall": stall.to_json() if (stall := stalls[each.path.name]) else None,
                    **({} if jobs is None else {"jobs": jobs.get(each.path.name, [])}),
                }
                for each in standings
            ],
        }
        print_json(facts)
        return
    rows = []
    for each in standings:
        saved, last = "-" if each.saved is None else each.saved, each.last_event
        cells = [each.path.name, str(each), saved, each.path.end, f"{last['event']} {last['time']}" if last else "-"]
        rows.append([*cells, job_text(jobs.get(each.path.name, []))] if jobs is not None else cells)
    typer.echo(table(("path", "state", "saved", "end", "last event", *(["job"] if jobs is not None else [])), rows))
    typer.echo("".join(f"\n{path.name} is {path.origin}\n" for path in campaign.paths if path.adopted), nl=False)
    for each in standings:
        name = each.path.name
        if owner := owners[name]:
            typer.echo(f"\n{name}: being trained by {owner}")
        if (stall := stalls[name]) is not None:
            typer.echo(f"\n{name}: stalled: {stall}")
        if each.alerts:
            typer.echo(f"\n{name}: {alert_words(each.alerts[-1])}{_more(len(each.alerts) - 1)}")
        for iteration in each.torn:
            typer.echo(f"\n{name}: checkpoint {iteration} is not whole; it is never used")
    typer.echo(f"\n{counted(left, 'iteration')} left of {sum(path.iterations for path in campaign.paths):,}")


def _more(count: int) -> str:
    return f"; {count} {'more' if count < LATEST - 1 else 'or more'} before it" if count else ""
