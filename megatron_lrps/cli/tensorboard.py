"""``lrps tensorboard``: a campaign's TensorBoard folder brought up to date, and the line that opens it."""

import shlex

import typer

from megatron_lrps.cli.campaign_to_read import open_to_read
from megatron_lrps.cli.options import PlanArgument


def tensorboard(plan: PlanArgument) -> None:
    """Bring the TensorBoard of a campaign up to date.

    It adds token axes, charts, markers, HParams, and what only the logs hold.
    """
    from megatron_lrps.monitor.tensorboard.derive import derive  # protobuf and numpy come with it

    with open_to_read(plan) as (campaign, notes):
        done = derive(campaign, notes=notes)
    for note in done.notes:
        typer.echo(note if note.isprintable() else repr(note))
    written = ["the campaign" if run == "." else run for run in done.changed]  # TensorBoard's name of the folder itself
    typer.echo(f"Written: {', '.join(written)}" if written else "Nothing has changed")
    typer.echo(f"tensorboard --logdir {shlex.quote(str(done.folder))}")
