"""TensorBoard's HParams tab: each version's settings, results and cost."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import Discrete, HParam, Metric, hparams_config_pb, hparams_pb

from megatron_lrps.data.tokenizer_size import vocabulary_of
from megatron_lrps.monitor.score_table import shown_scores
from megatron_lrps.monitor.version_costs import VersionCost
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.cost import model_size
from megatron_lrps.plan.keys.paths_and_cuts import Cut
from megatron_lrps.plan.keys.versions import Version

Hparams = Mapping[str, str | float]
SHARE = "cost/of PTFS"


def precision(tree: Tree) -> str:
    """Return the plan's precision, e.g. ``bf16, fp8 hybrid delayed``."""
    flags = tree.plan.megatron
    weights = next((name for name in ("bf16", "fp16") if flags.get(name) is True), "fp32")
    kind = flags.get("fp8-format")
    return f"{weights}, fp8 {kind} {flags.get('fp8-recipe', 'delayed')}" if kind else weights


def hparams_of(tree: Tree, path: PlannedPath) -> dict[str, str | float]:
    """Return a version's settings by the names of HParams' columns; shares, rates, iterations, samples, tokens."""
    plan = tree.plan
    found: dict[str, str | float] = {
        "version": str(path.version),
        "paradigm": path.paradigm,
        "parent": path.parent or "none",
        "fork": path.fork,
        "end": path.end,
        "iterations": path.iterations,
        "tokens": tree.tokens(path, path.end),
        "max lr": plan.lr.max,
        "min lr": plan.lr.min,
        "warm-up iterations": plan.lr.warmup_iters,
        "global batch size": plan.global_batch_size,
        "sequence length": tree.plan_of(path).sequence_length,
        "precision": precision(tree),
    }
    versions: list[Version | Cut] = [*plan.versions, *plan.cuts]
    made = next((each for each in versions if each.name == path.version), None)
    if path.kind != "explicit" and made is not None:
        decay = plan.decay_of(made)
        found["shape"] = decay.shape
        if path.kind == "branch" and isinstance(made, Version):
            found["alpha"] = decay.alpha
    if (size := model_size(plan, vocabulary_of(plan))) is not None:
        found["parameters"] = size.parameters
    return found


def metrics_of(row: VersionCost, rank_hours: float | None, results: Mapping[str, Any] | None) -> dict[str, float]:
    """Return tag -> value of a version's final scores and cost.

    Args:
        row: The version's cost.
        rank_hours: The time that its path took, or None if that is unknown.
        results: Its ``results.json`` with the scores of its end, or None.
    """
    found = {SHARE: row.of_ptfs}
    found |= {f"scores/validated ppl/{name}": value for name, value in row.perplexity.items() if value is not None}
    if results is not None:
        found |= {f"scores/{name}": value for name, value in shown_scores(results).items()}
    found |= {"cost/of CPT": row.of_cpt, "cost/iterations so far": float(row.cost)}
    if rank_hours is not None:
        found["cost/rank-hours of its path"] = rank_hours
    return {tag: value for tag, value in found.items() if math.isfinite(value)}


def session_begin(name: str, hparams: Hparams, time: float) -> Event:
    """Return the beginning of a version's session, at ``time`` (seconds since 1970)."""
    summary = hparams_pb(dict(hparams), trial_id=name, start_time_secs=time)
    data = summary.value[0].metadata.plugin_data
    # It holds a map, whose bytes are in any order.
    data.content = plugin_data_pb2.HParamsPluginData.FromString(data.content).SerializeToString(deterministic=True)
    return Event(wall_time=time, summary=summary)


def session_end(*, done: bool, time: float) -> Event:
    """Return a version's session status, at ``time`` (seconds since 1970)."""
    status = api_pb2.STATUS_SUCCESS if done else api_pb2.STATUS_RUNNING
    ended = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time)
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=ended))
    # tensorboard.plugins.hparams.summary makes the same, and imports TensorFlow.
    value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=time, summary=Summary(value=[value]))


def columns(hparams: Sequence[Hparams], metrics: Sequence[Mapping[str, float]], *, began: float) -> Event:
    """Return HParams' columns: every name of any version, in the order of the first that has it.

    Args:
        hparams: Each version's settings.
        metrics: Each version's metrics.
        began: The campaign's start, in seconds since 1970.
    """
    values: dict[str, dict[str | float, None]] = {}
    for each in hparams:
        for name, value in each.items():
            # As floats: TensorBoard keeps no integers of a discrete domain.
            values.setdefault(name, {})[value if isinstance(value, str) else float(value)] = None
    tags = dict.fromkeys(tag for each in metrics for tag in each)
    # The first five are shown until more are asked for: PTFS's share and scores.
    scores = [Metric(tag) for tag in sorted(tags, key=lambda tag: tag.startswith("cost/") and tag != SHARE)]
    summary = hparams_config_pb(
        [HParam(name, Discrete(list(found))) for name, found in values.items()], scores, time_created_secs=began
    )
    plugin = summary.value[0].metadata.plugin_data
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
    for info in data.experiment.hparam_infos:
        info.differs = len(values[info.name]) > 1  # these columns stand first
    plugin.content = data.SerializeToString(deterministic=True)
    return Event(wall_time=began, summary=summary)
