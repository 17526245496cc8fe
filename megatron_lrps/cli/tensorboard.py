"""``lrps tensorboard``: a campaign's TensorBoard folder brought up to date, and the line that opens it."""

import shlex
from pathlib import Path

import typer

from megatron_lrps.cli.show import open_campaign


def derive_tensorboard(plan_file: Path) -> None:
    """Write what TensorBoard needs beside Megatron's own files, and print what was found and how to look at it."""
    from megatron_lrps.monitor.tensorboard.derive import derive  # protobuf and numpy come with it

    with open_campaign(plan_file) as campaign:
        done = derive(campaign.folder, campaign.trees, notes=campaign.notes)
    for note in done.notes:
        typer.echo(note if note.isprintable() else repr(note))
    written = ["the campaign" if run == "." else run for run in done.changed]  # TensorBoard's name of the folder itself
    typer.echo(f"Written: {', '.join(written)}" if written else "Nothing has changed")
    typer.echo(f"tensorboard --logdir {shlex.quote(str(done.folder))}")
