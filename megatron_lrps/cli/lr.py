"""``lrps lr``: the learning rate of every iteration, as a table, CSV, JSON or a picture."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import JsonOption, PathOption, PlanArgument
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.flags import lr_range, warmup_init


def lr(
    plan: PlanArgument,
    path: PathOption = None,
    as_json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    png: Annotated[Path | None, typer.Option(help="Draw the curves into this PNG file.")] = None,
) -> None:
    """Show the learning rate of every iteration."""
    campaign = Campaign.open(plan)
    tree = campaign.tree
    paths = [campaign.path(path)] if path is not None else list(campaign.paths)
    warmup_init(tree.plan)  # refused before anything is printed
    if as_json and csv:
        raise RefusedError("--json and --csv are both given.", "give one of them.")
    if png is not None:
        from megatron_lrps.monitor.pictures.learning_rate_picture import draw_lr

        draw_lr(tree, paths, png)
        typer.echo(f"drew {png}", err=True)
        if not (as_json or csv):
            return
    if as_json:
        curves = {each.name: [{"iteration": i, "lr": rate} for i, rate in _rates(tree, each)] for each in paths}
        sys.stdout.write(json.dumps(curves) + "\n")
    elif csv:
        sys.stdout.write("path,iteration,lr\n")
        sys.stdout.writelines(f"{each.name},{i},{rate!r}\n" for each in paths for i, rate in _rates(tree, each))
    else:
        rows = [(each.name, i, f"{rate:.6e}") for each in paths for i, rate in _landmarks(tree, each)]
        typer.echo(table(("path", "iteration", "lr"), rows))
        typer.echo("".join(f"\n{each.name} is {each.origin}" for each in paths if each.adopted), nl=False)
        typer.echo("\nEvery iteration: --csv or --json; a picture: --png FILE")


def _rates(tree: Tree, path: PlannedPath, iterations: Iterable[int] | None = None) -> Iterator[tuple[int, float]]:
    """(iteration, its learning rate), for every iteration of a path if none are named."""
    limits = lr_range(tree.plan)
    for iteration in iterations if iterations is not None else range(path.fork + 1, path.end + 1):
        yield iteration, path.schedule.lr(tree.batches.samples(iteration - 1), **limits)


def _landmarks(tree: Tree, path: PlannedPath) -> list[tuple[int, float]]:
    """The first iteration, the last, eight between them, and the first of each segment."""
    step = max(1, path.iterations // 9)
    wanted = {path.fork + 1, path.end, *range(path.fork + 1, path.end, step)}
    wanted |= {tree.batches.iteration(segment.start) + 1 for segment in path.schedule.segments}
    return list(_rates(tree, path, sorted(i for i in wanted if path.fork < i <= path.end)))
