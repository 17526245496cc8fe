"""``lrps plan --simulate``: when the campaign would end on its cluster if nodes fail, by save interval."""

import math
from collections.abc import Mapping
from typing import Any

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan import Tree, cluster_simulation
from megatron_lrps.plan.cluster_simulation import MTBF_HOURS, Cluster, Outcome, intervals_around
from megatron_lrps.plan.cost import ModelSize
from megatron_lrps.plan.flags import DEFAULTS
from megatron_lrps.plan.keys.slurm_job import seconds_of


def simulate(
    tree: Tree, assumed: Mapping[str, float | None], *, gpus: int | None, size: ModelSize | None, tflops: float | None
) -> dict[str, Any]:
    """Simulate the campaign at the plan's save interval and at others, as in ``lrps plan --json``.

    Args:
        tree: The plan's tree.
        assumed: ``mtbf_hours``, ``queue_hours``, ``save_minutes``, ``seconds_per_iter`` and ``seeds``, None if the
            command line does not say.
        gpus: The GPUs of a job; None: as ``launch`` says.
        size: The model's size, for an iteration's time if that is not given.
        tflops: Achieved per GPU, likewise.

    Raises:
        RefusedError: if the time of an iteration is not known, or no save interval lets the campaign end.
    """
    plan, slurm = tree.plan, tree.plan.launch.slurm
    per_node = slurm.gpus_per_node if slurm else plan.launch.local.processes
    gpus = gpus or per_node * (slurm.nodes if slurm else 1)
    limit = seconds_of(slurm.time) - slurm.signal_before if slurm and slurm.time else None
    if tree.batches.rises:
        raise RefusedError(
            f"--simulate takes one time for all iterations, but the batch is {tree.batches.words}.",
            "simulate the plan without it.",
        )
    if len(tree.plan.lengths) > 1:
        raise RefusedError(
            "--simulate takes one time for all iterations, but a branch has a sequence_length of its own.",
            "simulate the plan without it.",
        )
    seconds = assumed["seconds_per_iter"]
    if seconds is None:
        if size is None or tflops is None:
            raise RefusedError(
                "--simulate is given, but the time of an iteration is not known.",
                "give --seconds-per-iter, or --tflops and the model's size under `megatron:`.",
            )
        seconds = plan.global_batch_size * size.flops_per_sample / (tflops * 1e12 * gpus)
    cluster = Cluster(
        nodes=math.ceil(gpus / per_node),
        gpus=gpus,
        iteration_hours=seconds / 3600,
        mtbf_hours=assumed["mtbf_hours"] or MTBF_HOURS,
        queue_hours=assumed["queue_hours"] or 0.0,
        save_hours=(assumed["save_minutes"] or 1.0) / 60,
        limit_hours=None if limit is None else limit / 3600,
    )
    own = plan.megatron.get("save-interval", DEFAULTS["save-interval"])
    if not isinstance(own, int) or own < 1:
        raise RefusedError(
            f"megatron.save-interval: {own!r} is not a number of iterations.", "give a whole number above 0."
        )
    seeds = int(assumed["seeds"] or 200)
    intervals = intervals_around(tree, cluster, own)
    found = [cluster_simulation.simulate(tree, cluster, interval, seeds) for interval in intervals]
    ending = [each for each in found if each.wasted_gpu_hours is not None]
    if not ending:
        raise RefusedError(
            f"{cluster.nodes} nodes that fail every {cluster.mtbf_hours:g} h each hardly ever train for "
            f"{cluster.restart_hours * 60:g} minutes of start-up and the time to a save.",
            "use fewer nodes, save faster, or check --mtbf-hours, which is for one node.",
        )
    return {
        "nodes": cluster.nodes,
        "gpus": gpus,
        "seconds_per_iter": cluster.iteration_hours * 3600,
        "mtbf_hours": cluster.mtbf_hours,
        "queue_hours": cluster.queue_hours,
        "save_minutes": cluster.save_hours * 60,
        "restart_minutes": cluster.restart_hours * 60,
        "limit_hours": cluster.limit_hours,
        "seeds": seeds,
        "young_iterations": cluster.young_hours / cluster.iteration_hours,
        "save_interval": own,
        "best_interval": min(ending, key=lambda each: each.wasted_gpu_hours or 0.0).interval,
        "intervals": [_facts(each) for each in found],
    }


def _facts(each: Outcome) -> dict[str, Any]:
    spread = ("median", "p90")
    return {
        "interval": each.interval,
        "finish_hours": dict(zip(spread, each.finish_hours, strict=True)) if each.finish_hours else None,
        "wasted_gpu_hours": each.wasted_gpu_hours,
        "wasted_share": each.wasted_share,
        "ends_hours": {path: dict(zip(spread, hours, strict=True)) for path, hours in each.ends_hours.items()},
    }


def simulation_text(facts: dict[str, Any]) -> str:
    """Format the answer of ``simulate`` as two tables: save intervals, and when each path ends at the plan's own."""
    limit = f", told to requeue after {facts['limit_hours']:.3g} h" if facts["limit_hours"] is not None else ""
    own, best = facts["save_interval"], facts["best_interval"]
    rows = []
    for each in facts["intervals"]:
        marks = [word for word, interval in (("the plan's", own), ("best", best)) if interval == each["interval"]]
        minutes = each["interval"] * facts["seconds_per_iter"] / 60
        cells: tuple[str, ...] = ("never", "-", "-", "-")
        if each["finish_hours"] is not None:
            wasted = f"{each['wasted_gpu_hours']:,.0f}", f"{100 * each['wasted_share']:.1f}%"
            cells = (*_days(each["finish_hours"]), *wasted)
        rows.append((each["interval"], f"{minutes:,.1f}", *cells, ", ".join(marks)))
    headers = ("save every", "minutes", "days (median)", "days (90%)", "GPU-hours wasted", "of all", "")
    lines = [
        f"Simulated {facts['seeds']} times: jobs of {facts['nodes']:,} nodes with {facts['gpus']:,} GPUs, "
        f"{facts['seconds_per_iter']:.3g} s an iteration{limit}",
        f"A node fails every {facts['mtbf_hours']:,.6g} h; a job waits {facts['queue_hours']:g} h in the queue and "
        f"starts in {facts['restart_minutes']:g} min; a save takes {facts['save_minutes']:g} min\n",
        table(headers, rows),
        f"\nBy Young's formula a save every {facts['young_iterations']:,.0f} iterations wastes least",
    ]
    planned = next(each for each in facts["intervals"] if each["interval"] == own)
    if planned["ends_hours"]:
        ends = [(path, *_days(hours)) for path, hours in planned["ends_hours"].items()]
        lines += ["", table(("path, saved as planned", "days (median)", "days (90%)"), ends)]
    return "\n".join(lines)


def _days(hours: dict[str, float]) -> tuple[str, str]:
    return f"{hours['median'] / 24:.1f}", f"{hours['p90'] / 24:.1f}"
