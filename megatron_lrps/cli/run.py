"""``lrps run``, ``lrps status`` and ``lrps tree``: training a campaign here, and where it stands."""

import json
from pathlib import Path
from typing import Any

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.standing import LATEST, alert_words, standing_of
from megatron_lrps.cli.status_jobs import job_text
from megatron_lrps.launch.executor import EXECUTORS, jobs_of
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan import Tree, expand, load_plan
from megatron_lrps.storage.ownership import UNKNOWN, Owner, holder


def run_plan(plan_file: Path, path: str | None) -> None:
    """Train what is missing of a campaign, or of one path, on this machine; returns when it is trained.

    Args:
        plan_file: The plan.
        path: One path's name, or None for all.

    Raises:
        LrpsError: whose exit code says how the run ended (75 stopped, 78 refused, 74 storage, else failed).
    """
    EXECUTORS["local"].start(Campaign.open(plan_file), path, typer.echo)


def show_status(plan_file: Path, *, as_json: bool) -> None:
    """Print where every path stands."""
    tree = expand(load_plan(plan_file))
    campaign = CampaignFolder(tree.plan.folder)
    owners = {path.name: holder(campaign.path(path.name).root) for path in tree.paths}
    standings = [
        standing_of(campaign, path).held_by(campaign.path(path.name), owners[path.name]) for path in tree.paths
    ]
    jobs = jobs_of(campaign)
    left = sum(each.iterations_left for each in standings)
    if as_json:
        paths = [
            {
                **each.to_json(),
                "holder": holder_facts(owners[each.path.name]),
                **({} if jobs is None else {"jobs": jobs.get(each.path.name, [])}),
            }
            for each in standings
        ]
        facts = {"campaign": tree.plan.campaign, "save": str(campaign.root), "iterations_left": left, "paths": paths}
        typer.echo(json.dumps(facts, indent=2))
        return
    rows = [
        (
            each.path.name,
            str(each),
            "-" if each.saved is None else each.saved,
            each.path.end,
            f"{each.last_event['event']} {each.last_event['time']}" if each.last_event else "-",
            *([job_text(jobs.get(each.path.name, []))] if jobs is not None else []),
        )
        for each in standings
    ]
    typer.echo(table(("path", "state", "saved", "end", "last event", *(["job"] if jobs is not None else [])), rows))
    typer.echo("".join(f"\n{path.name} is {path.origin}\n" for path in tree.paths if path.adopted), nl=False)
    for each in standings:
        name = each.path.name
        if owner := owners[name]:
            typer.echo(f"\n{name}: being trained by {owner}")
        if each.alerts:
            typer.echo(f"\n{name}: {alert_words(each.alerts[-1])}{_more(len(each.alerts) - 1)}")
        for iteration in each.torn:
            typer.echo(f"\n{name}: checkpoint {iteration} is not whole; it is never used")
    typer.echo(f"\n{left:,} iterations left of {sum(path.iterations for path in tree.paths):,}")


def _more(count: int) -> str:
    return f"; {count} {'more' if count < LATEST - 1 else 'or more'} before it" if count else ""


def holder_facts(owner: Owner | None) -> dict[str, Any] | None:
    """Who trains a path now, as ``--json`` gives it; all null where somebody does whose record is not readable."""
    if owner is None:
        return None
    keys = ("host", "pid", "job", "restart", "since")
    return {key: None if owner == UNKNOWN else getattr(owner, key) for key in keys}


def show_tree(plan_file: Path) -> None:
    """Draw the tree of paths: forks, ends, progress, versions."""
    tree = expand(load_plan(plan_file))
    campaign = CampaignFolder(tree.plan.folder)
    typer.echo(f"{tree.plan.campaign}  {campaign.root}")
    for line in _branches(tree, campaign, None, ""):
        typer.echo(line)


def _branches(tree: Tree, campaign: CampaignFolder, parent: str | None, indent: str) -> list[str]:
    lines: list[str] = []
    children = [path for path in tree.paths if path.parent == parent]
    for path in children:
        last = path is children[-1]
        folder = campaign.path(path.name)
        standing = standing_of(campaign, path).held_by(folder, holder(folder.root))
        done = path.iterations - standing.iterations_left
        version = f"  version {path.version}" if path.version else ""
        lines.append(
            f"{indent}{'`-- ' if last else '|-- '}{path.name}  ({path.fork:,}, {path.end:,}]{version}  "
            f"{standing}, {100 * done // path.iterations}%{f', {path.origin}' if path.adopted else ''}"
        )
        lines += _branches(tree, campaign, path.name, indent + ("    " if last else "|   "))
    return lines
