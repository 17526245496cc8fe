"""``lrps run``: trains a campaign on this machine. The exit code says how it ended (``errors.py``)."""

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import PathOption, PlanArgument
from megatron_lrps.launch.executor import EXECUTORS


def run(plan: PlanArgument, path: PathOption = None) -> None:
    """Train what is missing on this machine, parents first. Run it again to resume."""
    EXECUTORS["local"].start(Campaign.open(plan), path, typer.echo)
