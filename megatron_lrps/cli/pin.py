"""``lrps pin``: protects a checkpoint from ``lrps gc``, or ends that."""

from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.pins import add_pin, drop_pin
from megatron_lrps.cli.options import PlanArgument, path_names


def pin(
    plan: PlanArgument,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="The name of the path.", show_default=False, autocompletion=path_names)
    ],
    iteration: Annotated[
        int, typer.Argument(metavar="ITERATION", help="The iteration of the checkpoint.", show_default=False)
    ],
    note: Annotated[str, typer.Option(help="The reason why it has to stay.", show_default=False)] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the pin instead of setting it.")] = False,
) -> None:
    """Protect a checkpoint from lrps gc."""
    campaign = Campaign.open(plan)
    # The path may be in the accepted plan alone: gc looks at those too.
    if not any(path in tree.by_name for tree in campaign.with_accepted().trees):
        campaign.path(path)  # refuses it, naming those that exist
    folder = campaign.folder.path(path)
    if remove:
        drop_pin(folder, iteration)
        typer.echo(f"unpinned {path} {iteration:,}")
    else:
        add_pin(folder, iteration, note)
        typer.echo(f"pinned {path} {iteration:,}")
