"""``lrps plan``: what a plan means and costs, without training anything, and what a run of it would refuse."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import JsonOption, PlanArgument
from megatron_lrps.cli.plan_epochs import branch_epochs, epochs_table, window_epochs
from megatron_lrps.cli.printing import print_json
from megatron_lrps.data.tokenizer_size import vocabulary_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.preflight import refusals
from megatron_lrps.monitor.text_table import count_words, number_words, table
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.branch_data import own_data_words
from megatron_lrps.plan.cost import (
    Cost,
    ModelSize,
    campaign_gpu_hours,
    checkpoints_kept,
    cost_of,
    gpu_hours,
    merge_saves,
    model_size,
)
from megatron_lrps.plan.data_files import has_sources, missing_indexes
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.parallel_layout import ranks_of
from megatron_lrps.plan.proved_flags import unproved
from megatron_lrps.plan.save_memory import save_memory
from megatron_lrps.schedule import Batches
from megatron_lrps.storage.disk_space import size_words


def plan(
    plan: PlanArgument,
    as_json: JsonOption = False,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs that train at a time; those of the plan's launch by default.")
    ] = None,
    tflops: Annotated[
        float | None, typer.Option(min=0.001, help="TFLOP/s that each GPU achieves, to show the GPU-hours.")
    ] = None,
    check_layout: Annotated[
        bool, typer.Option("--check-layout", help="Let Megatron check TP, PP, DP and batch for the plan's world size.")
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(min=0.001, max=1.0, help="Choose branches and merges that cost at most this share of PTFS."),
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Show when training would end if nodes fail, for several save intervals.")
    ] = False,
    mtbf_hours: Annotated[
        float | None,
        typer.Option(min=0.001, help="--simulate: mean hours between failures of a node; 6300 by default."),
    ] = None,
    queue_hours: Annotated[
        float | None, typer.Option(min=0.0, help="--simulate: mean hours that a job waits in the queue; 0 by default.")
    ] = None,
    save_minutes: Annotated[
        float | None, typer.Option(min=0.001, help="--simulate: minutes that a save stops training; 1 by default.")
    ] = None,
    seconds_per_iter: Annotated[
        float | None,
        typer.Option(min=1e-6, help="--simulate: seconds of an iteration; estimated from --tflops instead."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="--simulate: how many times to simulate; 200 by default.")
    ] = None,
) -> None:
    """Show the paths, learning rates and cost of a plan.

    The cost is compared with retraining every version (PTFS) and with continuing the last one (CPT).
    """
    assumed = {
        "mtbf_hours": mtbf_hours,
        "queue_hours": queue_hours,
        "save_minutes": save_minutes,
        "seconds_per_iter": seconds_per_iter,
        "seeds": seeds,
    }
    for option, value in assumed.items():
        if value is not None and not simulate:
            raise RefusedError(
                f"--{option.replace('_', '-')} {value:g} is given without --simulate.", "add --simulate."
            )
    campaign = Campaign.open(plan)
    tree = campaign.tree
    for path in tree.paths:
        path_flags(tree, path)  # refuses what could not be launched
    cost, size = cost_of(tree), model_size(tree.plan, vocabulary_of(tree.plan))
    if tflops is not None and not math.isfinite(tflops):
        raise RefusedError(f"--tflops {tflops} is not a finite number.", "give the TFLOP/s that each GPU achieves.")
    if tflops is not None and size is None:
        raise RefusedError(
            "--tflops is given, but the plan does not name the size of the model.",
            "add num-layers and hidden-size under `megatron:`.",
        )
    facts = _facts(tree, cost, size, gpus, tflops)
    found = refusals(campaign, ranks_of(tree.plan), size)
    if check_layout and not found:
        from megatron_lrps.launch import layout_check

        try:
            facts["layout"] = layout_check.check_layout(campaign)
        except RefusedError as refusal:
            found.append(refusal)
    if budget is not None:
        from megatron_lrps.cli import plan_budget

        facts["budget"] = plan_budget.budget_facts(*plan_budget.budget_of(campaign, budget))
    if simulate:
        from megatron_lrps.cli import plan_simulation

        facts["simulation"] = plan_simulation.simulate(tree, assumed, gpus=gpus, size=size, tflops=tflops)
    facts["unproved_flags"] = unproved(tree.plan.megatron)
    facts["refused"] = [{"what": refusal.what, "mend": refusal.fix} for refusal in found]
    _show(tree, cost, facts, as_json=as_json)
    if found:
        # Behind the tables, which show what is to be changed.
        for each in found[:-1]:
            typer.echo(f"lrps: {each}", err=True)
        raise found[-1]


def _show(tree: Tree, cost: Cost, facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    _print_plan(tree, cost, facts)
    if facts["unproved_flags"]:
        typer.echo(f"\nPassed on, not proved by a test: {', '.join(facts['unproved_flags'])} (docs/arguments.md)")
    if "layout" in facts:
        from megatron_lrps.cli.plan_layout import layout_text

        typer.echo(f"\n{layout_text(facts['layout'])}")
    if "budget" in facts:
        from megatron_lrps.cli.plan_budget import budget_text

        typer.echo(f"\n{budget_text(facts['budget'])}")
    if "simulation" in facts:
        from megatron_lrps.cli.plan_simulation import simulation_text

        typer.echo(f"\n{simulation_text(facts['simulation'])}")


def _facts(tree: Tree, cost: Cost, size: ModelSize | None, gpus: int | None, tflops: float | None) -> dict[str, Any]:
    plan = tree.plan
    facts: dict[str, Any] = {
        "campaign": plan.campaign,
        "save": str(plan.folder),
        "paradigms": list(dict.fromkeys(path.paradigm for path in tree.paths)),
        "global_batch_size": plan.global_batch_size,
        "batches": tree.batches.to_json(),
        "sequence_length": plan.sequence_length,
        "lr": {"max": plan.lr.max, "min": plan.lr.min, "warmup_iters": plan.lr.warmup_iters},
        "paths": [
            {
                **{key: getattr(path, key) for key in ("name", "kind", "paradigm", "version", "parent", "fork")},
                "adopted": str(path.adopted) if path.adopted else None,
                **{key: getattr(path, key) for key in ("end", "iterations", "order")},
                "sequence_length": tree.plan_of(path).sequence_length,
                "schedule": path.schedule.to_json(),
                "mean": [part._asdict() for part in path.mean],
            }
            for path in tree.paths
        ],
        "cost": {**asdict(cost), "lrps_share_of_ptfs": cost.share_of_ptfs},
        "checkpoints_kept": checkpoints_kept(tree),
        "windows": window_epochs(tree),
        "branches": branch_epochs(tree),
        "missing_data": [str(prefix) for prefix in missing_indexes(tree)],
    }
    if saves := merge_saves(tree):
        facts["merge_saves"] = asdict(saves)
    if size is not None:
        facts["model"] = {
            "parameters": size.parameters,
            "vocabulary": size.vocabulary.size,
            "vocabulary_assumed": size.vocabulary.assumed,
            "checkpoint_bytes": size.checkpoint_bytes,
        }
        if gpus or plan.launch.slurm:
            facts["save_memory"] = asdict(save_memory(plan, size, gpus))
        facts["storage_bytes"] = checkpoints_kept(tree) * size.checkpoint_bytes
        if tflops is not None:
            hours = campaign_gpu_hours(tree, size.vocabulary, tflops)
            facts["gpu_hours"] = {"planned": hours, "ptfs": gpu_hours(cost.samples["ptfs"] or 0, size, tflops)}
            slurm = plan.launch.slurm
            if gpus := gpus or (slurm.nodes * slurm.gpus_per_node if slurm else None):
                facts["gpu_hours"]["days_on_gpus"] = hours / gpus / 24
                facts["gpu_hours"]["gpus"] = gpus
    return facts


def _print_plan(tree: Tree, cost: Cost, facts: dict[str, Any]) -> None:
    plan = tree.plan
    batches = tree.batches
    amounts = f"{batches.last} samples of {plan.sequence_length} tokens an iteration"
    if batches.rises:
        amounts = f"samples of {plan.sequence_length} tokens in batches of {batches.words}"
    typer.echo(
        f"Campaign {plan.campaign}: LR {plan.lr.max:g} to {plan.lr.min:g}, warm-up {plan.lr.warmup_iters} iterations, "
        f"{amounts}\n"
    )
    rows = []
    for path in tree.paths:
        read = tree.tokens(path, path.end) - tree.tokens(path, path.fork)
        amount, curve = count_words(read), _curve(path, tree.batches)
        curve = path.mean_words or curve
        rows.append((path.name, path.parent or "-", path.fork, path.end, path.iterations, amount, curve))
    typer.echo(table(("path", "parent", "fork", "end", "iterations", "tokens", "learning rate"), rows))
    remarks = [f"{path.name} is {path.origin}\n" for path in tree.paths if path.adopted]
    remarks += [f"{path.name} reads {words}\n" for path in tree.paths if (words := own_data_words(tree, path))]
    typer.echo("".join(remarks))
    ways = {"lrps": "LRPS, path switching", "ptfs": "PTFS, retraining each version"}
    ways["cpt"] = "CPT, continuing the last version"
    if cost.planned not in (cost.lrps, cost.ptfs, cost.cpt):
        ways["planned"] = "this plan in all"
    rises = tree.batches.rises  # then iterations are no measure of cost
    costs = [
        (words, getattr(cost, way), *((cost.samples[way],) if rises else ()), f"{100 * share:.0f}%")
        for way, words in ways.items()
        if (share := cost.share_of(way)) is not None
    ]
    typer.echo(table(("cost", "iterations", *(("samples",) if rises else ()), "of PTFS"), costs))
    for path in tree.paths:
        if (length := tree.plan_of(path).sequence_length) != plan.sequence_length:
            as_many = number_words(path.iterations * length / plan.sequence_length, 0)
            typer.echo(
                f"{path.name} has samples of {length:,} tokens: its {path.iterations:,} iterations read as many tokens "
                f"as {as_many} of main"
            )
    if "model" in facts:
        model, parts = facts["model"], ", parts of a mean" if any(path.mean for path in tree.paths) else ""
        typer.echo(
            f"\nModel of {count_words(model['parameters'])} parameters; {facts['checkpoints_kept']} checkpoints "
            f"to keep (forks{parts} and ends), {size_words(facts['storage_bytes'])}"
        )
        if model["vocabulary_assumed"]:
            typer.echo(
                f"The tokenizer is not there, so a vocabulary of {model['vocabulary']:,} is assumed; "
                "tokenizer.vocab_size would say"
            )
    if saves := facts.get("merge_saves"):
        typer.echo(
            f"Merges need {saves['checkpoints']} checkpoints; {saves['besides']} of them are saved for a merge alone, "
            f"besides those of every {saves['save_interval']:,} iterations (save-interval), of forks and of ends"
        )
    if "save_memory" in facts:
        memory = facts["save_memory"]
        typer.echo(
            f"A save takes about {size_words(memory['bytes'])} of host memory on a node of {memory['gpus_per_node']} "
            f"of {memory['gpus']:,} ranks"
            + (", twice the node's share, because it is asynchronous" if memory["asynchronous"] else "")
        )
    if "gpu_hours" in facts:
        hours = facts["gpu_hours"]
        line = f"{number_words(hours['planned'], 0)} GPU-hours ({number_words(hours['ptfs'], 0)} by PTFS)"
        if "gpus" in hours:
            line += f", {number_words(hours['days_on_gpus'], 1)} days on {hours['gpus']} GPUs"
        typer.echo(line)
    if repeats := epochs_table(facts["windows"], facts["branches"], plan.base):
        typer.echo(f"\n{repeats}")
    if missing := facts["missing_data"]:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        one = len(missing) == 1
        indexes, them = ("index", "it") if one else ("indexes", "them")
        typer.echo(f"\nNot there yet: {len(missing)} data {indexes} ({shown}); a run needs {them}.")
        if made := sum(has_sources(plan, Path(prefix)) for prefix in missing):
            typer.echo(f"`lrps prepare` makes {'it' if one else f'{made} of them'} from the plan's sources.")


def _curve(path: PlannedPath, batches: Batches) -> str:
    words = []
    for segment in path.schedule.segments:
        if segment.end is not None and segment.end <= batches.samples(path.fork):
            continue
        start = max(batches.iteration(segment.start), path.fork)
        end = path.end if segment.end is None else min(batches.iteration(segment.end), path.end)
        if end > start:
            name = segment.shape or (f"{segment.factor:g} x max" if segment.kind == "factor" else segment.kind)
            words.append(f"{name} ({start}, {end}]")
    return ", ".join(words)
