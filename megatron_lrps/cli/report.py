"""``lrps report``: a campaign on one HTML page."""

from datetime import UTC, datetime
from pathlib import Path

import typer

from megatron_lrps.cli.show import open_campaign


def make_report(plan_file: Path, output: Path | None, axis: str) -> None:
    """Write the page and its pictures, and print where they are and what they lack."""
    from megatron_lrps.monitor.pictures.axis import axis_of
    from megatron_lrps.monitor.report.build import write_report  # matplotlib and tensorboard come with it

    with open_campaign(plan_file) as campaign:
        folder = output or campaign.folder.report
        done = write_report(
            campaign.folder,
            campaign.trees,
            folder=folder,
            notes=campaign.notes,
            now=datetime.now(UTC),
            axis=axis_of(campaign.trees[0].plan, axis),
        )
    for each in done.missing:
        typer.echo(each if each.isprintable() else repr(each))
    typer.echo(done.page)
