"""``lrps compare``: every version's cost and scores in one table, one paradigm's beside the other's."""

from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.scores import read_results
from megatron_lrps.cli.options import PlanArgument
from megatron_lrps.errors import RefusedError


def compare(
    plan: PlanArgument,
    versions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VERSION...]", help="The versions to compare; all by default.", show_default=False),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, csv, json, html or latex.")] = "text",
) -> None:
    """Compare the cost and the scores of versions. The versions of one paradigm stand beside those of the others."""
    from megatron_lrps.monitor.score_table import FORMS, score_table
    from megatron_lrps.monitor.version_costs import version_costs

    if form not in FORMS:
        raise RefusedError(f"--format {form} is unknown.", f"give one of {', '.join(FORMS)}.")
    campaign = Campaign.open(plan)
    known = version_costs(campaign)
    names = [row.path for row in known.rows]
    for wanted in versions or ():
        if wanted not in names and wanted not in {row.version for row in known.rows}:
            raise RefusedError(f"{wanted} is not a version or path of this plan.", f"name one of {', '.join(names)}.")
    results = {name: found for name in names if (found := read_results(campaign.folder, name)) is not None}
    typer.echo(FORMS[form](score_table(known, results, only=versions or [])), nl=False)
