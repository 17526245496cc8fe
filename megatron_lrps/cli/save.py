"""``lrps save``: asks the jobs that train a campaign to save."""

from typing import Annotated

import typer

from megatron_lrps.cli.options import PlanArgument
from megatron_lrps.cli.path_requests import ask_jobs


def save(
    plan: PlanArgument,
    path: Annotated[
        str | None, typer.Argument(metavar="PATH", help="One path; by default all that are being trained.")
    ] = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait until a job has saved.")] = 1800.0,
) -> None:
    """Let what is being trained save now and go on.

    It saves at its next iteration. This works from any machine that sees the campaign's folder, on what lrps run or
    Slurm trains.
    """
    ask_jobs(plan, path, "save", wait)
