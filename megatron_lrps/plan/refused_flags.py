"""Megatron flags that `lrps plan` refuses whatever else the plan says, each with the reason. Pure."""

from megatron_lrps.plan.keys.flag_values import FlagValue

_BENCHMARK = "its experts are drawn at random, for benchmarks of speed, so the model learns nothing that could be used"
_SHARED_CACHE = "it reads an index that another job has built, and each path of a plan builds its own"
_INFERENCE = "it belongs to inference, and nothing is trained with it"

UNSAFE: dict[str, str] = {
    "finetune": "it drops the optimizer and the position; a fork keeps both",
    "no-load-optim": "it drops the optimizer at the fork",
    "no-load-rng": "it drops the random states at the fork",
    "no-save-optim": "a checkpoint without its optimizer is no fork point",
    "no-save-rng": "a checkpoint without its random states does not resume exactly",
    "ckpt-step": "fork-or-resume chooses the checkpoint",
    "override-opt_param-scheduler": "the plan is the schedule",
    "use-checkpoint-opt_param-scheduler": "the plan is the schedule",
    "phase-transition-iterations": "it ends the job at each phase",
    "iterations-to-skip": "main and branch would read other samples",
    "decrease-batch-size-if-needed": "the batch size, and with it every position, would change silently",
    "save-retain-interval": "it deletes fork points",
    "yaml-cfg": "flags from a second file would not be compared with the plan",
    "mock-data": "the windows are the data",
    "override-ckpt-iteration": "it moves the position of a path",
    "use-checkpoint-args": "the plan gives the arguments",
    "exit-on-missing-checkpoint": "fork-or-resume decides where a path starts",
    "result-rejected-tracker-filename": "it skips iterations, and main and branch would read other samples",
    **dict.fromkeys(
        ("non-persistent-ckpt-type", "non-persistent-save-interval"),
        "fork-or-resume does not look at checkpoints that are not kept; save-interval and async-save save often",
    ),
    "adlr-autoresume": "it needs scripts of NVIDIA's own cluster; lrps saves before a job's end and continues",
    **dict.fromkeys(
        ("openai-gelu", "apply-residual-connection-post-layernorm", "mask-prob", "short-seq-prob"),
        "nothing in megatron-core reads it, so another model would be trained than the plan says",
    ),
    "freeze-all-layers": "it trains nothing",
    **dict.fromkeys(("fault-injector-ranks", "fault-injector-num-ranks"), "it lets ranks fail on purpose"),
    "error-injection-rate": "it makes results wrong on purpose",
    "fake-process-group": "ranks that do not exchange anything train no model",
    "ckpt-convert-format": "it converts a checkpoint and trains nothing",
    "ckpt-convert-save": "it converts a checkpoint and trains nothing",
    "skip-train": "it trains nothing; lrps eval scores what is trained",
    **dict.fromkeys(("moe-router-force-load-balancing", "moe-router-force-biased"), _BENCHMARK),
    "moe-use-upcycling": "it makes experts of a dense checkpoint and saves them, and megatron-core 0.19 fails when the "
    "next start loads them",
    **dict.fromkeys(("dataloader-fast-cache-load", "dataloader-defer-npy-index-mmap"), _SHARED_CACHE),
    "load-main-params-from-ckpt": "it goes with no-load-optim alone, which drops the optimizer at the fork",
    **dict.fromkeys(
        (
            *("inference-rng-tracker", "inference-batch-times-seqlen-threshold"),
            *("inference-disable-triton-nvls-kernels", "inference-fuse-tp-communication"),
        ),
        _INFERENCE,
    ),
    "init-method-xavier-uniform": "megatron-core 0.19 builds no model with it",
    "overlap-param-gather-with-optimizer-step": "Megatron saves no distributed checkpoint with it, as a fork point is",
    "decoder-num-layers": "no GPT is built of it; num-layers is its depth",
    "lazy-mpu-init": "Megatron leaves it to another script to connect the ranks",
    "batch-size": "Megatron calls it micro-batch-size now",
    "model-parallel-size": "Megatron calls it tensor-model-parallel-size now",
    "warmup": "Megatron has it no more; lr.warmup_iters is the plan's",
    "checkpoint-activations": "Megatron calls it recompute-granularity now",
    "no-position-embedding": "Megatron says position-embedding-type: none now",
    "encoder-num-layers": "Megatron calls it num-layers now",
    "enable-ft-package": "its heartbeats need ranks that ft_launcher has started, which launch.ft_launcher lets it do",
}
"""Refused Megatron flags, which would make a campaign silently wrong or unable to continue -> the reason."""

NO_RESUME: dict[tuple[str, FlagValue], str] = {
    ("optimizer", "sgd"): "megatron-core 0.19 saves SGD's state, but fails when it loads it, so nothing could fork or "
    "resume",
    ("optimizer", "adaptive_muon"): "megatron-core 0.19 ends at its first step with it, beside emerging-optimizers 0.3",
    ("optimizer", "soap"): "its state has matrices of other shapes than the weights, which megatron-core fails to save",
}
"""Megatron flag values with which no path could be continued -> the reason."""
