"""A value for every flag of Megatron that the tests try, made from its kind, and what some flags need beside them."""

from typing import Any

from megatron_lrps.plan.entry_flags import NOT_HONOURED
from megatron_lrps.plan.flags import FIXED, OWNED
from megatron_lrps.plan.megatron_arguments import Argument, arguments, by_flag
from megatron_lrps.plan.refused_flags import UNSAFE

Flags = dict[str, Any]

MOE: Flags = {"num-experts": 4, "moe-router-topk": 2, "disable-bias-linear": True}
ROPE: Flags = {"position-embedding-type": "rope"}
YARN: Flags = {
    "position-embedding-type": "yarn",
    "yarn-original-max-position-embeddings": 32,
    "rotary-scaling-factor": 4.0,
}
MUON: Flags = {"optimizer": "muon", "use-distributed-optimizer": False}
MTP: Flags = {**ROPE, "mtp-num-layers": 1}
WEIGHT_DECAY: Flags = {"weight-decay-incr-style": "linear", "start-weight-decay": 0.0, "end-weight-decay": 0.1}
FP32: Flags = {"bf16": False, "use-distributed-optimizer": False}
FP16: Flags = {"bf16": False, "fp16": True, "initial-loss-scale": 65536}
RECOMPUTED: Flags = {"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 1}
MAMBA: Flags = {**{"hybrid-layer-pattern": "M*", "mamba-num-groups": 2, "mamba-state-dim": 16, "mamba-head-dim": 16}}
STAGES: Flags = {"pipeline-model-parallel-size": 2, "num-layers": 4}
BACKGROUND: Flags = {"async-save": True, "async-strategy": "mcore", "use-persistent-ckpt-worker": True}

VALUES: Flags = {
    "optimizer": "adam",
    **dict.fromkeys(("tensor-model-parallel-size", "pipeline-model-parallel-size", "expert-model-parallel-size"), 2),
    "num-layers-per-virtual-pipeline-stage": 1,
    "num-virtual-stages-per-pipeline-rank": 2,
    "moe-router-topk": 1,
    "moe-token-dispatcher-type": "alltoall",
    "moe-router-load-balancing-type": ["seq_aux_loss"],
    "moe-layer-freq": [0, 1],
    "position-embedding-type": "rope",
    "multi-latent-attention": True,
    "q-lora-rank": 16,
    "kv-lora-rank": 16,
    "qk-head-dim": 16,
    "qk-pos-emb-head-dim": 8,
    "v-head-dim": 16,
    **{"mamba-state-dim": 24, "mamba-head-dim": 32, "mamba-num-groups": 4, "mamba-num-heads": 4},
    "moe-latent-size": 32,
    "rotary-base": 100,
    "yarn-original-max-position-embeddings": 16,
    "embedding-init-method-std": 0.05,
    "num-experts": 4,
    "moe-router-num-groups": 2,
    "moe-router-group-topk": 1,
    "moe-expert-capacity-factor": 1.0,
    "async-ckpt-cpu-priority": 0,
    "weight-decay-incr-style": "linear",
    "mup-base-hidden-size": 32,
    "initial-loss-scale": 65536.0,
    "recompute-granularity": "full",
    "recompute-method": "uniform",
    "recompute-num-layers": 1,
    "attention-backend": "unfused",
    "attention-dropout": 0.2,
    "clip-grad": 0.5,
    "distributed-backend": "gloo",
    "exit-signal": "SIGTERM",
    "exit-interval": 100,
    "exit-duration-in-mins": 1000,
    "ffn-hidden-size": 96,
    "hidden-size": 32,
    **dict.fromkeys(("hybrid-layer-pattern", "hybrid-override-pattern"), "*-"),
    "kv-channels": 8,
    "logging-level": 20,
    "lr-warmup-init": 1e-4,
    "loss-scale": 128.0,
    "max-position-embeddings": 64,
    "micro-batch-size": 1,
    "moe-ffn-hidden-size": 64,
    "no-rope-freq": [1, 0],
    "num-attention-heads": 2,
    "num-layers": 1,
    "num-query-groups": 2,
    "num-workers": 0,
    "padded-vocab-size": 256,
    "recompute-modules": ["core_attn"],
    "async-strategy": "mcore",
    "save-interval": 3,
    "seed": 7,
    "transformer-impl": "local",
    "window-attn-skip-freq": 2,
    "window-size": [16, 0],
    "rotary-seq-len-interpolation-factor": 2,
    "yarn-beta-fast": 16.0,
    "yarn-beta-slow": 2.0,
}
"""Flag -> value, where the kind alone does not say one."""

_NEEDED: tuple[tuple[Flags, str], ...] = (
    (
        MOE,
        "moe-router-topk moe-router-pre-softmax moe-router-topk-scaling-factor moe-router-score-function "
        "moe-input-jitter-eps moe-expert-capacity-factor moe-layer-freq moe-shared-expert-intermediate-size "
        "moe-ffn-hidden-size moe-aux-loss-coeff moe-z-loss-coeff moe-router-load-balancing-type moe-grouped-gemm "
        "moe-token-dispatcher-type moe-permute-fusion moe-router-fusion moe-layer-recompute moe-per-layer-logging "
        "moe-router-dtype moe-router-padding-for-quantization num-experts moe-latent-size moe-enable-routing-replay "
        "moe-shared-expert-overlap moe-flex-dispatcher-backend moe-enable-deepep moe-single-grouped-weight "
        "moe-router-padding-for-fp8 save-tokens-per-expert-interval",
    ),
    (MOE | {"moe-router-topk": 1, "moe-router-pre-softmax": True}, "moe-apply-probs-on-input"),
    (MOE | {"moe-expert-capacity-factor": 0.5}, "moe-token-drop-policy"),
    (MOE | {"moe-router-load-balancing-type": ["quantile_balancing"]}, "moe-router-quantile-balancing-ema"),
    (MOE | {"moe-shared-expert-intermediate-size": 64}, "moe-shared-expert-gate"),
    (
        MOE | {"moe-router-score-function": "sigmoid", "moe-router-enable-expert-bias": True},
        "moe-router-enable-expert-bias moe-router-bias-update-rate",
    ),
    (MOE | {"moe-router-num-groups": 2, "moe-router-group-topk": 1}, "moe-router-num-groups moe-router-group-topk"),
    (MOE | {"moe-expert-capacity-factor": 1.0}, "moe-pad-expert-input-to-capacity"),
    (
        ROPE,
        "rotary-base rotary-percent rotary-interleaved rotary-seq-len-interpolation-factor use-rope-scaling "
        "rope-scaling-factor no-rope-freq rope-type",
    ),
    (ROPE | {"use-rope-scaling": True}, "rope-scaling-factor"),
    (
        YARN,
        "yarn-original-max-position-embeddings yarn-beta-fast yarn-beta-slow yarn-correction-range-round-to-int "
        "rotary-scaling-factor mscale mscale-all-dim",
    ),
    (
        MUON,
        "muon-momentum muon-no-split-qkv muon-nesterov muon-scale-mode muon-num-ns-steps muon-extra-scale-factor "
        "muon-scalar-optimizer muon-tp-mode muon-coefficient-type muon-fp32-matmul-prec",
    ),
    (MUON | {"muon-scalar-optimizer": "lion"}, "lion-beta1 lion-beta2"),
    (MTP | {"mtp-num-layers": 2}, "mtp-use-repeated-layer"),
    (MTP, "mtp-num-layers mtp-loss-scaling-factor mtp-detach-heads mtp-standalone"),
    ({"group-query-attention": True, "num-query-groups": 2}, "group-query-attention num-query-groups"),
    ({"swiglu": True}, "glu-linear-offset activation-func-clamp-value no-bias-swiglu-fusion"),
    ({"window-size": [16, 0]}, "window-attn-skip-freq"),
    (WEIGHT_DECAY, "weight-decay-incr-style start-weight-decay end-weight-decay"),
    ({"qk-layernorm": True}, "apply-wd-to-qk-layernorm no-weight-decay-cond-type"),
    ({"decoupled-lr": 1e-3}, "decoupled-lr decoupled-min-lr"),
    (FP16, "fp16 fp16-lm-cross-entropy loss-scale initial-loss-scale min-loss-scale loss-scale-window hysteresis"),
    (RECOMPUTED, "recompute-granularity recompute-method recompute-num-layers"),
    (RECOMPUTED | {"tensor-model-parallel-size": 2}, "distribute-saved-activations"),
    ({"null-tokenizer-eod-id": 0}, "eod-mask-loss"),
    ({"null-tokenizer-eod-id": 0, "eod-mask-loss": True}, "calculate-per-token-loss"),
    ({"recompute-granularity": "selective"}, "recompute-modules"),
    (
        BACKGROUND,
        "async-save async-strategy use-persistent-ckpt-worker async-ckpt-cpu-priority async-ckpt-io-priority "
        "async-ckpt-use-cpu-shm",
    ),
    ({"overlap-grad-reduce": True}, "overlap-param-gather"),
    ({"manual-gc": True}, "manual-gc-interval no-manual-gc-eval"),
    ({"use-mup": True, "mup-base-hidden-size": 32}, "use-mup mup-base-hidden-size mup-attn-scale-power"),
    (
        {"mup-base-hidden-size": 32, "use-mup": True},
        "mup-width-mult mup-embedding-mult mup-output-mult mup-base-head-dim",
    ),
    (
        {"multi-latent-attention": True} | ROPE,
        "multi-latent-attention q-lora-rank kv-lora-rank qk-head-dim qk-pos-emb-head-dim v-head-dim",
    ),
    ({"position-embedding-type": "none"}, "no-position-embedding"),
    (MAMBA, "mamba-state-dim mamba-head-dim mamba-num-groups mamba-num-heads disable-mamba-mem-eff-path"),
    ({"disable-bias-linear": True}, "add-qkv-bias"),
    ({"tensor-model-parallel-size": 2}, "sequence-parallel"),
    (MOE, "expert-model-parallel-size"),
    (MOE | {"tensor-model-parallel-size": 2, "sequence-parallel": True}, "expert-tensor-parallel-size"),
    (STAGES, "num-layers-per-virtual-pipeline-stage num-virtual-stages-per-pipeline-rank"),
    (STAGES | {"num-layers-per-virtual-pipeline-stage": 1}, "overlap-p2p-communication-warmup-flush"),
)
BESIDE: dict[str, Flags] = {flag: flags for flags, line in _NEEDED for flag in line.split()}
"""Flag -> the flags that it means nothing without."""


_BEGINNINGS = """
fp8- no-fp8- fp4- first-last-layers- num-layers-at- mamba-training- mamba-inference- dsa- no-dsa-
linear- qk-clip megatron-fsdp- fsdp- kitchen- tp-comm- no-tp-comm- cuda-graph- moe-deepep- moe-hybridep- moe-flex-
moe-ncclep- moe-paged- moe-permute-fusion-into- moe-routing-trace- moe-upcycling- moe-single- optimizer-offload-
use-torch-optimizer-for-cpu- cpu-offloading- overlap-cpu- no-pin-cpu- fim- logits- straggler- disable-straggler-
log-straggler profile pytorch-profiler- use-pytorch-profiler record-shapes nvtx-ranges one-logger- inprocess- ft-
fault-injector- decoder-seq-length max-seqlen- sample-rate relative-attention- sgd- error-injection- replication
non-persistent- tokenizer- no-tokenizer- tiktoken- data-parallel-sharding- outer-dp- hierarchical- use-sharp sharp-
exp-avg- main-grads- main-params- torch-fsdp2- no-torch-fsdp2 delta-offload- fine-grained- min-offloaded- offload-
delay- reuse-grad-buf- keep-fp8- flash-attention- experimental-attention- use-flash-attn wgrad-deferral- mrope-
tensorboard-log-interval heterogeneous- no-strict-fsdp- stream-ckpt- no-stream-ckpt- adlr- mtp-standalone
"""
NOTHING_ALONE = tuple(_BEGINNINGS.split())
"""Beginnings of flags that change nothing without hardware, a package or a file that a test of this kind has not."""

RANKS = dict.fromkeys(
    (
        *("tensor-model-parallel-size", "pipeline-model-parallel-size", "expert-model-parallel-size"),
        *("sequence-parallel", "num-layers-per-virtual-pipeline-stage", "num-virtual-stages-per-pipeline-rank"),
        *("overlap-grad-reduce", "overlap-param-gather", "dist-ckpt-optim-fully-reshardable"),
        *("overlap-p2p-communication-warmup-flush", "expert-tensor-parallel-size", "distribute-saved-activations"),
    ),
    2,
)
"""Flag -> the number of ranks to try it on, if one is too few."""


def tried() -> dict[str, Argument]:
    """Return the flags that a plan may have, without those that only its own keys set; the first of each argument."""
    kept_out = {*OWNED, *UNSAFE, *FIXED, *NOT_HONOURED}
    return {
        each.flags[0]: each
        for each in arguments().values()
        if each.flags and each.flags[0] not in kept_out and each.in_class not in ("other", "derived")
    }


def value_of(flag: str) -> Any:
    """Return a value that is not Megatron's default, if there is one; None if the kind does not say."""
    argument = by_flag()[flag]
    if flag.startswith(NOTHING_ALONE):
        return None
    if flag in VALUES:
        return VALUES[flag]
    if argument.kind == "switch":
        return True
    if argument.choices:
        other = [choice for choice in argument.choices if choice != argument.default]
        return other[:1] if argument.is_list else other[0]
    default = argument.default
    match argument.kind:
        case "int":
            return 2 if default is None else default + 1
        case "float":
            return 0.1 if not default else default / 2
        case "float+":
            return [0.01]
        case "int+":
            return [0]
    return None
