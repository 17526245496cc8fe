"""``lrps report``: a campaign on one HTML page."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.cli.campaign_to_read import open_to_read
from megatron_lrps.cli.options import PlanArgument


def report(
    plan: PlanArgument,
    output: Annotated[Path | None, typer.Option(help="The folder of the report; <save>/report by default.")] = None,
    axis: Annotated[
        str, typer.Option(help="The horizontal axis of the pictures: iterations, samples or tokens.")
    ] = "iterations",
) -> None:
    """Write the report of a campaign, an HTML page.

    It has paths, losses, versions, data, scores and events. The pictures are beside it as PNG and SVG.
    """
    from megatron_lrps.monitor.pictures.axis import axis_of
    from megatron_lrps.monitor.report.build import write_report  # matplotlib and tensorboard come with it

    with open_to_read(plan) as (campaign, notes):
        done = write_report(
            campaign,
            folder=output or campaign.folder.report,
            notes=notes,
            now=datetime.now(UTC),
            axis=axis_of(campaign.plan, axis),
        )
    for each in done.missing:
        typer.echo(each if each.isprintable() else repr(each))
    typer.echo(done.page)
