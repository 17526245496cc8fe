"""``lrps cut``: a version besides the planned ones, off main as it is now."""

from typing import Annotated

import typer

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.grown_plan import grown_text
from megatron_lrps.campaign.path_request import ask
from megatron_lrps.cli.options import PlanArgument
from megatron_lrps.cli.path_requests import wait_for_answer
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Tree, expand, parse_plan
from megatron_lrps.plan.paths import MAIN
from megatron_lrps.storage.files import write_atomic
from megatron_lrps.storage.ownership import holder


def cut(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new version.", show_default=False)],
    plan: PlanArgument,
    iters: Annotated[int, typer.Option(min=1, help="The iterations of its decay.", show_default=False)],
    shape: Annotated[str | None, typer.Option(help="The shape of its decay; the campaign's by default.")] = None,
    at: Annotated[
        int | None, typer.Option(min=1, help="Fork off main's checkpoint of this iteration; where main is by default.")
    ] = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait until main's job has saved.")] = 1800.0,
) -> None:
    """Fork a new version off main where it is now.

    main may be training meanwhile. The new version is added to the plan.
    """
    campaign = Campaign.open(plan)
    tree = campaign.tree
    main = campaign.folder.path(campaign.path(MAIN).name)
    complete = Checkpoints.in_folder(main.checkpoints).complete
    text = plan.read_text(encoding="utf-8")
    # Before main's job is asked for anything: would a cut anywhere be accepted at all?
    anywhere = max([1, tree.plan.lr.warmup_iters, *complete])
    _grown(text, tree, name, fork=at or anywhere, iters=iters, shape=shape)
    if at is not None:
        if at not in complete:
            there = ", ".join(map(str, complete[-8:])) or "none"
            raise RefusedError(
                f"main has no checkpoint of iteration {at} (--at); it has {there}.", "choose one of those."
            )
        fork = at
    elif holder(main.root) is not None:
        fork = _saved_by_job(main, name, wait)
    elif complete:
        fork = complete[-1]
        typer.echo(f"main is not being trained; its newest checkpoint is at iteration {fork:,}")
    else:
        raise RefusedError("main has saved nothing yet, and nobody trains it.", "train it first: lrps run.")
    grown, new = _grown(text, tree, name, fork=fork, iters=iters, shape=shape)
    accept(Campaign(new))
    write_atomic(plan, grown)
    path = new.path(name)
    typer.echo(
        f"{name} forks off main at iteration {path.fork:,} and ends at {path.end:,}; it is in {plan} now.\n"
        f"Train it with: lrps run {plan} --path {name}"
    )


def _grown(text: str, tree: Tree, name: str, *, fork: int, iters: int, shape: str | None) -> tuple[str, Tree]:
    grown = grown_text(text, tree.plan, name=name, fork=fork, iters=iters, shape=shape)
    return grown, expand(parse_plan(grown, base=tree.plan.base))


def _saved_by_job(main: PathFolder, name: str, patience_s: float) -> int:
    typer.echo("main is being trained; asking its job to save at its next iteration")
    fix = "look at its log; give it more time with --wait, or fork off an existing checkpoint with --at."
    return wait_for_answer(main, ask(main, "cut", name=name), patience_s, fix)
