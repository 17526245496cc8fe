"""``lrps run``: trains a campaign on this machine. The exit code says how it ended (``errors.py``)."""

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import PathOption, PlanArgument
from megatron_lrps.cli.paths_to_train import asked_paths, nothing_to_do


def run(plan: PlanArgument, path: PathOption = None) -> None:
    """Train what is missing on this machine, parents first. Run it again to resume."""
    from megatron_lrps.campaign.accepted_plan import accept
    from megatron_lrps.campaign.record import state_of
    from megatron_lrps.launch.local.executor import train
    from megatron_lrps.launch.local.progress import make_display
    from megatron_lrps.launch.preflight import require_all
    from megatron_lrps.launch.untrained import unfinished

    campaign = Campaign.open(plan)
    asked = asked_paths(campaign.tree, path)
    accept(campaign.tree)
    missing = unfinished(campaign.tree, path)
    if not missing:
        typer.echo(nothing_to_do(campaign.tree, path))
        return
    require_all(campaign.tree, missing, campaign.plan.launch.local.processes)
    position = {each.name: state_of(campaign.folder, each).saved or each.fork for each in asked}
    # The accepted copy: an edit of the plan while this runs waits for the next `lrps run`.
    train(campaign.tree, missing, campaign.folder.plan, make_display(asked, position))
