"""``lrps diff``: the differences between two versions, or any two paths."""

from dataclasses import asdict
from typing import Annotated

import typer

from megatron_lrps.campaign.differences import compare
from megatron_lrps.campaign.lineage import facts_of, resolve
from megatron_lrps.cli.campaign_to_read import open_to_read
from megatron_lrps.cli.options import JsonOption, PlanArgument, path_names
from megatron_lrps.cli.printing import print_json, value_text


def diff(
    plan: PlanArgument,
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="The first version or path.", show_default=False, autocompletion=path_names),
    ],
    b: Annotated[
        str,
        typer.Argument(metavar="B", help="The second version or path.", show_default=False, autocompletion=path_names),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show the differences between two versions. Values that are the same in both are counted."""
    with open_to_read(plan) as (campaign, notes):
        left, right = (facts_of(campaign, resolve(campaign, each)) for each in (a, b))
        comparison = compare(left, right)
        if as_json:
            whole = {
                "campaign": campaign.plan.campaign,
                "save": str(campaign.folder.root),
                "notes": notes,
                "a": {"path": left.name, "record": left.record, "notes": left.notes},
                "b": {"path": right.name, "record": right.record, "notes": right.notes},
                **asdict(comparison),
            }
            print_json(whole)
            return
        typer.echo(f"{left.name} | {right.name}")
        for note in (*notes, *left.notes, *(right.notes if right != left else ())):
            typer.echo(value_text(note))
        for each in comparison.differences:
            typer.echo(f"{value_text(each.key)}: {value_text(each.a)} | {value_text(each.b)}")
        if comparison.one_sided:
            typer.echo(f"Known of one of them alone: {', '.join(comparison.one_sided)}")
        typer.echo(f"The same in both: {comparison.same:,} values.")
