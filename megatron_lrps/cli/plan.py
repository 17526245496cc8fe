"""``lrps plan``, ``lrps lr`` and ``lrps args``: what a plan means, without training anything."""

import json
import math
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.plan_epochs import epochs_table, window_epochs
from megatron_lrps.data.tokenizer_size import vocabulary_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.preflight import refusals
from megatron_lrps.monitor.text_table import count_words, number_words, table
from megatron_lrps.plan import Plan, PlannedPath, Tree, expand, load_plan
from megatron_lrps.plan.cost import (
    Cost,
    ModelSize,
    checkpoints_kept,
    cost_of,
    gpu_hours,
    model_size,
)
from megatron_lrps.plan.data_files import has_sources, missing_indexes
from megatron_lrps.plan.flags import argument_line, lr_range, path_flags, warmup_init
from megatron_lrps.plan.parallel_layout import ranks_of
from megatron_lrps.storage.disk_space import size_words


def show_plan(
    file: Path,
    *,
    as_json: bool,
    gpus: int | None,
    tflops: float | None,
    layout: bool = False,
    simulate: bool = False,
    assumed: Mapping[str, float | None] | None = None,
) -> None:
    """Print the tree and its cost; then what a run of it would refuse.

    Args:
        file: The plan.
        as_json: Print JSON.
        gpus: That train at a time; None: what ``launch.slurm`` says.
        tflops: Achieved per GPU, for GPU-hours.
        layout: Also what Megatron says of it for the plan's world size.
        simulate: Also when it would be done, nodes failing.
        assumed: Option of ``simulate`` -> its value, None where it is not given.
    """
    for option, value in (assumed or {}).items():
        if value is not None and not simulate:
            raise RefusedError(
                f"--{option.replace('_', '-')} {value:g} is given without --simulate.", "add --simulate."
            )
    tree = expand(load_plan(file))
    for path in tree.paths:
        path_flags(tree, path)  # refuses what could not be launched
    cost, size = cost_of(tree), model_size(tree.plan, vocabulary_of(tree.plan))
    if tflops is not None and not math.isfinite(tflops):
        raise RefusedError(f"--tflops: {tflops} is no finite number.", "give the TFLOP/s that each GPU achieves.")
    if tflops is not None and size is None:
        raise RefusedError(
            "--tflops: the plan does not name the model's size.",
            "add num-layers and hidden-size under `megatron:`.",
        )
    facts = _facts(tree, cost, size, gpus or _slurm_gpus(tree.plan), tflops)
    found = refusals(Campaign(tree), ranks_of(tree.plan), size)
    if layout and not found:
        from megatron_lrps.launch.layout_check import check_layout

        try:
            facts["layout"] = check_layout(Campaign(tree))
        except RefusedError as refusal:
            found.append(refusal)
    if simulate:
        from megatron_lrps.cli import plan_simulation as sizing

        facts["simulation"] = sizing.simulate(tree, assumed or {}, gpus=gpus, size=size, tflops=tflops)
    facts["refused"] = [{"what": refusal.what, "mend": refusal.fix} for refusal in found]
    _show(tree, cost, facts, as_json=as_json)
    if found:
        # Behind the tables, which show what is to be changed.
        for each in found[:-1]:
            typer.echo(f"lrps: {each}", err=True)
        raise found[-1]


def _show(tree: Tree, cost: Cost, facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    _print_plan(tree, cost, facts)
    if "layout" in facts or "simulation" in facts:
        from megatron_lrps.cli import plan_simulation as sizing

        texts = {"layout": sizing.layout_text, "simulation": sizing.simulation_text}
        typer.echo("".join(f"\n{text(facts[key])}\n" for key, text in texts.items() if key in facts), nl=False)


def _slurm_gpus(plan: Plan) -> int | None:
    slurm = plan.launch.slurm
    return slurm.nodes * slurm.gpus_per_node if slurm else None


def _facts(tree: Tree, cost: Cost, size: ModelSize | None, gpus: int | None, tflops: float | None) -> dict[str, Any]:
    plan = tree.plan
    facts: dict[str, Any] = {
        "campaign": plan.campaign,
        "save": str(plan.folder),
        "paradigms": list(dict.fromkeys(path.paradigm for path in tree.paths)),
        "global_batch_size": plan.global_batch_size,
        "sequence_length": plan.sequence_length,
        "lr": {"max": plan.lr.max, "min": plan.lr.min, "warmup_iters": plan.lr.warmup_iters},
        "paths": [
            {
                "name": path.name,
                "kind": path.kind,
                "paradigm": path.paradigm,
                "version": path.version,
                "parent": path.parent,
                "fork": path.fork,
                "adopted": str(path.adopted) if path.adopted else None,
                "end": path.end,
                "iterations": path.iterations,
                "order": path.order,
                "schedule": path.schedule.to_json(),
            }
            for path in tree.paths
        ],
        "cost": {
            "planned": cost.planned,
            "lrps": cost.lrps,
            "ptfs": cost.ptfs,
            "cpt": cost.cpt,
            "lrps_share_of_ptfs": cost.share_of_ptfs,
        },
        "checkpoints_kept": checkpoints_kept(tree),
        "windows": window_epochs(tree),
        "missing_data": [str(prefix) for prefix in missing_indexes(tree)],
    }
    if size is not None:
        facts["model"] = {
            "parameters": size.parameters,
            "vocabulary": size.vocabulary.size,
            "vocabulary_assumed": size.vocabulary.assumed,
            "checkpoint_bytes": size.checkpoint_bytes,
        }
        facts["storage_bytes"] = checkpoints_kept(tree) * size.checkpoint_bytes
        if tflops is not None:
            hours = gpu_hours(cost.planned, plan, size, tflops)
            facts["gpu_hours"] = {"planned": hours, "ptfs": gpu_hours(cost.ptfs, plan, size, tflops)}
            if gpus is not None:
                facts["gpu_hours"]["days_on_gpus"] = hours / gpus / 24
                facts["gpu_hours"]["gpus"] = gpus
    return facts


def _print_plan(tree: Tree, cost: Cost, facts: dict[str, Any]) -> None:
    plan = tree.plan
    tokens = plan.global_batch_size * plan.sequence_length
    typer.echo(
        f"Campaign {plan.campaign}: LR {plan.lr.max:g} to {plan.lr.min:g}, warm-up {plan.lr.warmup_iters} iterations, "
        f"{plan.global_batch_size} samples of {plan.sequence_length} tokens an iteration\n"
    )
    rows = [
        (
            path.name,
            path.parent or "-",
            path.fork,
            path.end,
            path.iterations,
            count_words(path.iterations * tokens),
            _curve(path, plan.global_batch_size),
        )
        for path in tree.paths
    ]
    typer.echo(table(("path", "parent", "fork", "end", "iterations", "tokens", "learning rate"), rows))
    typer.echo("".join(f"{path.name} is {path.origin}\n" for path in tree.paths if path.adopted))
    costs = [("PTFS, retraining each version", cost.ptfs, _percent(cost.ptfs, cost.ptfs))]
    if cost.lrps is not None:
        costs.insert(0, ("LRPS, path switching", cost.lrps, _percent(cost.lrps, cost.ptfs)))
    costs.append(("CPT, continuing the last version", cost.cpt, _percent(cost.cpt, cost.ptfs)))
    if cost.planned not in (cost.lrps, cost.ptfs, cost.cpt):
        costs.append(("this plan in all", cost.planned, _percent(cost.planned, cost.ptfs)))
    typer.echo(table(("cost", "iterations", "of PTFS"), costs))
    if "model" in facts:
        model = facts["model"]
        typer.echo(
            f"\nModel of {count_words(model['parameters'])} parameters; {facts['checkpoints_kept']} checkpoints "
            f"to keep (forks and ends), {size_words(facts['storage_bytes'])}"
        )
        if model["vocabulary_assumed"]:
            typer.echo(
                f"The tokenizer is not there, so a vocabulary of {model['vocabulary']:,} is assumed; "
                "tokenizer.vocab_size would say"
            )
    if "gpu_hours" in facts:
        hours = facts["gpu_hours"]
        line = f"{number_words(hours['planned'], 0)} GPU-hours ({number_words(hours['ptfs'], 0)} by PTFS)"
        if "gpus" in hours:
            line += f", {number_words(hours['days_on_gpus'], 1)} days on {hours['gpus']} GPUs"
        typer.echo(line)
    if repeats := epochs_table(facts["windows"], plan.base):
        typer.echo(f"\n{repeats}")
    if missing := facts["missing_data"]:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        typer.echo(f"\nNot there yet: {len(missing)} data indexes ({shown}); a run needs them.")
        if made := sum(has_sources(plan, Path(prefix)) for prefix in missing):
            typer.echo(f"`lrps prepare` makes {made} of them from the plan's sources.")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%"


def _curve(path: PlannedPath, batch: int) -> str:
    words = []
    for segment in path.schedule.segments:
        if segment.end is not None and segment.end <= path.fork * batch:
            continue
        start = max(segment.start // batch, path.fork)
        end = path.end if segment.end is None else min(segment.end // batch, path.end)
        if end > start:
            name = segment.shape or (f"{segment.factor:g} x max" if segment.kind == "factor" else segment.kind)
            words.append(f"{name} ({start}, {end}]")
    return ", ".join(words)


def show_lr(file: Path, name: str | None, *, as_json: bool, csv: bool, png: Path | None) -> None:
    """Print or draw the learning rate of every iteration."""
    tree = expand(load_plan(file))
    paths = [tree.path(name)] if name is not None else list(tree.paths)
    warmup_init(tree.plan)  # refused before anything is printed
    if as_json and csv:
        raise RefusedError("--json and --csv are both given.", "choose one.")
    if png is not None:
        from megatron_lrps.monitor.pictures.learning_rate_picture import draw_lr

        draw_lr(tree, paths, png)
        typer.echo(f"drew {png}", err=True)
        if not (as_json or csv):
            return
    if as_json:
        curves = {path.name: [{"iteration": i, "lr": rate} for i, rate in rates(tree, path)] for path in paths}
        sys.stdout.write(json.dumps(curves) + "\n")
    elif csv:
        sys.stdout.write("path,iteration,lr\n")
        sys.stdout.writelines(f"{path.name},{i},{rate!r}\n" for path in paths for i, rate in rates(tree, path))
    else:
        rows = [(path.name, i, f"{rate:.6e}") for path in paths for i, rate in _landmarks(tree, path)]
        typer.echo(table(("path", "iteration", "lr"), rows))
        typer.echo("".join(f"\n{path.name} is {path.origin}" for path in paths if path.adopted), nl=False)
        typer.echo("\nEvery iteration: --csv or --json; a picture: --png FILE")


def rates(tree: Tree, path: PlannedPath, iterations: Iterable[int] | None = None) -> Iterator[tuple[int, float]]:
    """(iteration, the learning rate that it trains with), for every iteration of a path if none are named."""
    limits = lr_range(tree.plan)
    for iteration in iterations if iterations is not None else range(path.fork + 1, path.end + 1):
        yield iteration, path.schedule.lr((iteration - 1) * tree.plan.global_batch_size, **limits)


def _landmarks(tree: Tree, path: PlannedPath) -> list[tuple[int, float]]:
    """First, last and eight iterations between, and each first iteration of a segment."""
    step = max(1, path.iterations // 9)
    wanted = {path.fork + 1, path.end, *range(path.fork + 1, path.end, step)}
    wanted |= {segment.start // tree.plan.global_batch_size + 1 for segment in path.schedule.segments}
    return list(rates(tree, path, sorted(i for i in wanted if path.fork < i <= path.end)))


def show_args(file: Path, name: str) -> None:
    """Print the argument line, quoted for a shell."""
    tree = expand(load_plan(file))
    line = argument_line(path_flags(tree, tree.path(name)))
    typer.echo(shlex.join([*line, "--lrps-plan", str(file.expanduser().resolve()), "--lrps-path", name]))
