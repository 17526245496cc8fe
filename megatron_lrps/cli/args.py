"""``lrps args``: a path's Megatron arguments, quoted for a shell."""

import shlex
from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import PlanArgument, path_names
from megatron_lrps.plan.flags import argument_line, path_flags, refuse_to_train_mean


def args(
    plan: PlanArgument,
    path: Annotated[
        str, typer.Option("--path", help="The name of the path.", show_default=False, autocompletion=path_names)
    ],
) -> None:
    """Print the Megatron arguments of a path, for any launcher."""
    campaign = Campaign.open(plan)
    refuse_to_train_mean(campaign.path(path))
    line = argument_line(path_flags(campaign.tree, campaign.path(path)))
    typer.echo(shlex.join([*line, "--lrps-plan", str(plan.expanduser().resolve()), "--lrps-path", path]))
