"""``lrps preview``: how good a version would be today, by a mean of the main path's latest checkpoints."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import JsonOption, PlanArgument
from megatron_lrps.cli.printing import print_json, say
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.text_table import table
from megatron_lrps.schedule.merge import merge_kinds, merge_weights


def preview(
    plan: PlanArgument,
    window: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Merge checkpoints of this last share of main's iterations.")
    ] = 0.2,
    checkpoints: Annotated[int, typer.Option(min=2, help="Merge at most this many checkpoints.")] = 10,
    weights: Annotated[
        str, typer.Option(help="How the checkpoints are weighted: mean, ema, cosine, linear, 1-sqrt or exponential.")
    ] = "mean",
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Read at most this many tokens of a validation set.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Keep the merged checkpoint in this folder; by default it is not kept.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge main's latest checkpoints and score the result.

    It says how good a version would be today, while main trains on. Nothing in the campaign changes.
    """
    if weights not in merge_kinds():
        raise RefusedError(f"--weights {weights} is unknown.", f"choose one of {', '.join(merge_kinds())}.")
    campaign = Campaign.open(plan)
    from megatron_lrps.evaluate import preview as merged  # torch comes with it

    found = merged.checkpoints_to_merge(campaign, share=window, count=checkpoints)
    given = merge_weights(weights, len(found))
    scores = merged.preview(campaign, found, weights=given, limit=tokens, output=output, say=say)
    if as_json:
        facts = {
            "campaign": campaign.plan.campaign,
            "weights": weights,
            "checkpoints": [
                {"iteration": each.iteration, "weight": weight} for each, weight in zip(found, given, strict=True)
            ],
            "output": str(output.absolute()) if output else None,
            "perplexity": [asdict(score) for score in scores],
        }
        print_json(facts)
        return
    head = ("validation set", f"main at {found[-1].iteration:,}", f"mean of {len(found)}")
    typer.echo(table(head, [(score.name, _shown(score.main), _shown(score.merged)) for score in scores]))


def _shown(perplexity: float | None) -> str:
    return "not finite" if perplexity is None else f"{perplexity:.4g}"
