"""Valid ranges of numbers that Megatron's parser accepts unchecked, but that fail or mislead outside of a range.

A negative ``clip-grad`` silently clips nothing; ``num-layers: 0`` is a division by zero. Pure; contradictions between
the command line and a plan are checked elsewhere.
"""

import signal
from collections.abc import Callable, Mapping
from typing import Any

from megatron_lrps.errors import PlanError

_COUNTS = (
    "num-layers", "hidden-size", "ffn-hidden-size", "num-attention-heads", "num-query-groups", "kv-channels",
    "max-position-embeddings", "make-vocab-size-divisible-by", "moe-router-topk", "moe-ffn-hidden-size",
    "rotary-base", "seq-length", "micro-batch-size", "global-batch-size", "tensor-model-parallel-size",
    "pipeline-model-parallel-size", "context-parallel-size", "expert-model-parallel-size",
    "expert-tensor-parallel-size", "num-layers-per-virtual-pipeline-stage", "num-virtual-stages-per-pipeline-rank",
    "num-distributed-optimizer-instances", "log-interval", "save-interval", "tensorboard-log-interval",
    "distributed-timeout-minutes", "seed",
)  # fmt: skip
"""1 or more: for none of these does megatron-core 0.19 take 0 as "none" or "never"."""
_ABOVE_ZERO = ("norm-epsilon", "layernorm-epsilon", "initial-loss-scale")
_NOT_NEGATIVE = (
    "mtp-num-layers", "num-experts", "recompute-num-layers", "train-iters", "eval-iters", "eval-interval",
    "exit-interval", "lr", "min-lr", "clip-grad", "weight-decay", "start-weight-decay", "end-weight-decay",
    "adam-eps", "init-method-std", "loss-scale", "moe-aux-loss-coeff",
)  # fmt: skip
_SHARES = ("hidden-dropout", "attention-dropout", "adam-beta1", "adam-beta2", "sgd-momentum")
"""0 or more, below 1."""
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (_COUNTS, lambda number: number >= 1, "1 or more"),
    (_ABOVE_ZERO, lambda number: number > 0, "above 0"),
    (_NOT_NEGATIVE, lambda number: number >= 0, "0 or more"),
    (_SHARES, lambda number: 0 <= number < 1, "0 or more and below 1"),
    (("rotary-percent",), lambda number: 0 < number <= 1, "above 0 and at most 1"),
)
_STREAMS = "it overlaps streams of CUDA"
_TE_ALONE = "Transformer Engine's modules alone have it"
_WEIGHT_SHARDS = ("tensor-parallel-num-weight-shards", "expert-tensor-parallel-num-weight-shards")
_GPU_ALONE = {
    "fp8-format": "Transformer Engine's modules compute in FP8",
    "fp4-format": "Transformer Engine's modules compute in FP4",
    "log-straggler": "Megatron measures slow ranks by CUDA's events",
    "context-parallel-size": "Transformer Engine's attention alone works on parts of a sequence",
    "log-max-attention-logit": "Transformer Engine's attention alone reports it",
    "record-memory-history": "it records what CUDA allocates",
    **dict.fromkeys(
        ("cuda-graph-impl", "enable-cuda-graph", "external-cuda-graph", "optimizer-cuda-graph"),
        "there are no CUDA graphs on a CPU",
    ),
    "use-megatron-fsdp": "its buffers are CUDA's",
    "use-torch-fsdp2": "its buffers are CUDA's",
    "use-precision-aware-optimizer": "Transformer Engine's Adam alone keeps its state in other formats",
    "optimizer-cpu-offload": "the weights are on the CPU already",
    **dict.fromkeys(("moe-router-fusion", "moe-permute-fusion"), "Transformer Engine alone has the fused kernels"),
    "defer-embedding-wgrad-compute": "it belongs to the fused accumulation of gradients",
    "experimental-attention-variant": "Megatron makes it of Transformer Engine's modules alone",
    "tp-comm-overlap": "Transformer Engine's modules alone overlap it",
    "use-transformer-engine-op-fuser": "it fuses Transformer Engine's modules",
    **dict.fromkeys(("overlap-moe-expert-parallel-comm", "ep-overlap-early-attn-memory-release"), _STREAMS),
    **dict.fromkeys(("pipeline-model-parallel-comm-backend", "use-nccl-ub"), "the ranks speak by gloo on a CPU"),
    **dict.fromkeys(
        ("moe-expert-rank-capacity-factor", "moe-enable-deepep"), "its experts exchange tokens by kernels of CUDA"
    ),
    "gpu-sniff-test-interval": "it tests GPUs",
    "use-sharp": "switches of InfiniBand reduce with it",
    **dict.fromkeys(("save-activations-interval", "save-dgrads-interval"), "it looks for Transformer Engine's modules"),
    **dict.fromkeys(
        ("fp32-residual-connection", "fused-residual-rmsnorm", "moe-latent-size", "symmetric-ar-type"), _TE_ALONE
    ),
    **dict.fromkeys(("batch-invariant-mode", "overlap-dispatch-backward-with-experts-wgrad"), _TE_ALONE),
    **dict.fromkeys(("moe-router-padding-for-quantization", "moe-router-padding-for-fp8"), "it pads for FP8 and FP4"),
    **dict.fromkeys(("mla-down-proj-fusion", *_WEIGHT_SHARDS), _TE_ALONE),
    **dict.fromkeys(("moe-mlp-glu-interleave-size", "moe-shared-expert-glu-interleave-size"), _TE_ALONE),
}
"""Flags that the CPU backend would silently ignore or fail at -> why. The word none means: off."""
_OFF_AT_ONE = ("context-parallel-size", *_WEIGHT_SHARDS)


def refuse_out_of_range(flags: Mapping[str, Any], prefix: str) -> None:
    """Refuse numbers that Megatron would fail at or misread.

    Args:
        flags: Flag without its dashes -> value; values that are no numbers are not checked.
        prefix: The prefix of a flag in messages: ``megatron.`` or ``--``.

    Raises:
        PlanError: naming the flag, its value and the range.
    """
    for names, fits, needed in _RANGES:
        for name in names:
            number = _number(flags.get(name))
            if number is not None and not fits(number):
                raise PlanError(f"{prefix}{name}: {number:g} is out of range.", f"give a number that is {needed}.")
    asked = flags.get("exit-signal")
    if isinstance(asked, str) and asked not in signal.Signals.__members__:
        raise PlanError(f"{prefix}exit-signal: {asked} is not a signal.", "give a name such as SIGUSR2.")
    heads, groups = _number(flags.get("num-attention-heads")), _number(flags.get("num-query-groups"))
    if flags.get("group-query-attention") and heads and groups and heads % groups:
        raise PlanError(
            f"{prefix}num-query-groups: {groups:g} does not divide num-attention-heads {heads:g}.",
            "choose query groups that divide the heads.",
        )
    experts, each = _number(flags.get("num-experts")), _number(flags.get("moe-router-topk"))
    if experts and each is not None and each > experts:
        raise PlanError(
            f"{prefix}moe-router-topk: {each:g} experts for each token are more than num-experts {experts:g}.",
            "lower it.",
        )


def refuse_without_gpu(flags: Mapping[str, Any], prefix: str) -> None:
    """Refuse features that the CPU backend lacks; arguments as in ``refuse_out_of_range``. Raises PlanError."""
    for name, why in _GPU_ALONE.items():
        value = flags.get(name)
        if value not in (None, False, "none") and not (name in _OFF_AT_ONE and _number(value) == 1):
            raise PlanError(f"{prefix}{name}: {value} needs a GPU: {why}.", "remove it, or set launch.device: gpu.")


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
