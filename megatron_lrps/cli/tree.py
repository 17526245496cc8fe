"""``lrps tree``: the tree of paths, drawn in text."""

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.cli.options import PlanArgument
from megatron_lrps.storage.ownership import holder


def tree(plan: PlanArgument) -> None:
    """Draw the tree of paths with their forks, ends and progress."""
    campaign = Campaign.open(plan)
    typer.echo(f"{campaign.plan.campaign}  {campaign.folder.root}")
    for line in _branches(campaign, None, ""):
        typer.echo(line)


def _branches(campaign: Campaign, parent: str | None, indent: str) -> list[str]:
    lines: list[str] = []
    children = [path for path in campaign.paths if path.parent == parent]
    for path in children:
        last = path is children[-1]
        folder = campaign.folder.path(path.name)
        standing = standing_of(campaign, path).held_by(folder, holder(folder.root))
        done, whole = path.iterations - standing.iterations_left, path.iterations
        if path.mean:
            done, whole = int(standing.done), 1
        version = f"  version {path.version}" if path.version else ""
        lines.append(
            f"{indent}{'`-- ' if last else '|-- '}{path.name}  ({path.fork:,}, {path.end:,}]{version}  "
            f"{standing}, {100 * done // whole}%{f', {path.origin}' if path.adopted else ''}"
        )
        lines += _branches(campaign, path.name, indent + ("    " if last else "|   "))
    return lines
