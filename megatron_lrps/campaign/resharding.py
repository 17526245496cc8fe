"""Which checkpoints another parallel layout can load without loss, and from which release of megatron-core on.

Found by loading checkpoints into other layouts, saving them again and comparing every tensor
(``tests/training/test_layouts.py``; the table is in ``docs/layouts.md``). Weights alone always load.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from megatron_lrps.errors import RefusedError

RESHARDABLE = "dist_ckpt_optim_fully_reshardable"
"""The ``--lrps-allow`` key for users who know that every bucket ends where the next one begins."""

SAVED_BY = "lrps_megatron"
"""The Megatron argument that carries the saving release's version into every checkpoint."""
_MENDED = (0, 20)
"""The release whose reshardable saves hold all buckets' state at its offsets."""

_LAYOUT: dict[str, str] = {
    "tensor_model_parallel_size": "TP",
    "pipeline_model_parallel_size": "PP",
    "virtual_pipeline_model_parallel_size": "VPP",
    "data_parallel_size": "DP",
    "context_parallel_size": "CP",
    "num_distributed_optimizer_instances": "--num-distributed-optimizer-instances",
    "pipeline_model_parallel_layout": "--pipeline-model-parallel-layout",
    "decoder_first_pipeline_num_layers": "--decoder-first-pipeline-num-layers",
    "decoder_last_pipeline_num_layers": "--decoder-last-pipeline-num-layers",
    "account_for_embedding_in_pipeline_split": "--account-for-embedding-in-pipeline-split",
    "account_for_loss_in_pipeline_split": "--account-for-loss-in-pipeline-split",
}
_BUCKETS = ("overlap_grad_reduce", "ddp_bucket_size", "ddp_num_buckets", "ddp_pad_buckets_for_high_nccl_busbw")
_RESHARDABLE = f"--{RESHARDABLE.replace('_', '-')}"
_OFFSETS = "megatron-core before 0.20 then saves the optimizer's state of all buckets but the first at wrong offsets"


def refuse_lossy_saves(run: Mapping[str, Any], allow: Sequence[str] = ()) -> None:
    """Refuse a run whose checkpoints would not hold the optimizer's state.

    Args:
        run: Megatron's arguments by destination.
        allow: The keys of ``--lrps-allow``.

    Raises:
        RefusedError: the optimizer's state would be lost; raised before training.
    """
    if (why := _buckets(run)) and RESHARDABLE not in allow:
        raise RefusedError(
            f"{_RESHARDABLE} is given, and {why}: {_OFFSETS}, so every resume would go on with other weights.",
            f"drop {_RESHARDABLE}, or give --lrps-allow {RESHARDABLE} where each rank's parameters fit in one bucket.",
        )


def refuse_other_layout(
    checkpoint: Mapping[str, Any], run: Mapping[str, Any], name: str, *, allow: Sequence[str] = ()
) -> None:
    """Refuse a layout into which megatron-core cannot load the checkpoint's optimizer state without loss.

    Args:
        checkpoint: Arguments saved in the checkpoint, by destination.
        run: The arguments of this run, likewise.
        name: The checkpoint, for the message.
        allow: The keys of ``--lrps-allow``.

    Raises:
        RefusedError: naming the difference, both values and the fix.
    """
    experts = "expert_model_parallel_size"
    if (here := run.get(experts) or 1) != (there := checkpoint.get(experts) or 1):
        raise RefusedError(
            f"The layout is EP={here} in this run, EP={there} in {name}: megatron-core groups the experts' "
            "parameters by it and does not find their optimizer state again.",
            f"run with --expert-model-parallel-size {there}.",
        )
    if not checkpoint.get("use_distributed_optimizer"):
        return  # the state is stored by parameter, and every layout reads it
    if (why := _buckets(checkpoint)) and RESHARDABLE not in allow:
        raise RefusedError(
            f"{name} was saved with {_RESHARDABLE}, and {why}: {_OFFSETS}, so a run would go on with other weights.",
            "continue from a checkpoint that was saved without it, or give "
            f"--lrps-allow {RESHARDABLE} where each rank's parameters fitted in one bucket.",
        )
    differing = _differing(checkpoint, run, _LAYOUT)
    if not checkpoint.get("dist_ckpt_optim_fully_reshardable"):
        # Without the overlap there is one bucket, whatever its size.
        keys = _BUCKETS if checkpoint.get("overlap_grad_reduce") else _BUCKETS[:1]
        differing |= _differing(checkpoint, run, {key: f"--{key.replace('_', '-')}" for key in keys})
    elif _one_instance(checkpoint) and _one_instance(run):
        return
    if differing:
        ours = " ".join(f"{key}={here}" for key, (_, here) in differing.items())
        theirs = " ".join(f"{key}={there}" for key, (there, _) in differing.items())
        raise RefusedError(
            f"The layout is {ours} in this run, {theirs} in {name}: megatron-core does not move the distributed "
            "optimizer's state between layouts without loss.",
            f"run with {theirs}; a campaign that shall move is trained without --use-distributed-optimizer, or with "
            f"{_RESHARDABLE} and without --overlap-grad-reduce, from its start (docs/layouts.md).",
        )


def _buckets(args: Mapping[str, Any]) -> str:
    """Return why a rank has several gradient buckets while its saves assume one; "" if that is not so."""
    if not (args.get("use_distributed_optimizer") and args.get(RESHARDABLE)) or _release(args) >= _MENDED:
        return ""
    if args.get("overlap_grad_reduce"):
        return "--overlap-grad-reduce cuts the gradients into buckets"
    stages = args.get("pipeline_model_parallel_size") or 1
    if stages > 1 and not args.get("untie_embeddings_and_output_weights"):
        # Whether the previous bucket ends at a multiple of its padding depends on the model's sizes.
        return "tied embeddings have a bucket of their own where there are pipeline stages"
    return ""


def _release(args: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the numbers of the release that saved these arguments; none if it is unknown."""
    found = re.match(r"(\d+)\.(\d+)", str(args.get(SAVED_BY) or ""))
    return tuple(map(int, found.groups())) if found else ()


def _one_instance(args: Mapping[str, Any]) -> bool:
    return (args.get("num_distributed_optimizer_instances") or 1) == 1


def _differing(
    checkpoint: Mapping[str, Any], run: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, tuple[Any, Any]]:
    """Return name -> (the checkpoint's value, the run's) for values that differ; a size that is not set is 1."""
    found = {}
    for key, name in names.items():
        there, here = checkpoint.get(key), run.get(key)
        unset = False if isinstance(there, bool) or isinstance(here, bool) else 1
        pair = (unset if there is None else there, unset if here is None else here)
        if pair[0] != pair[1]:
            found[name] = pair
    return found
