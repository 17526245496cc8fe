"""Megatron-LM's own training configurations, shrunk by one rule so that a CPU can train them.

They are read from a checkout (tests/functional_tests/test_cases/*/*/model_config.yaml); none is copied here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from megatron_lrps.plan.flags import OWNED
from megatron_lrps.plan.hybrid_pattern import MAMBA, pattern_of
from megatron_lrps.plan.megatron_arguments import by_flag

KINDS = ("gpt", "moe", "mixtral", "hybrid")
RULE = (
    "sizes, lengths and counts become those of a toy (hidden size 64, 4 heads, sequence 32, 4 experts, 4 Mamba heads, "
    "batch 4, which a rising batch reaches after one iteration), a parallel size above 2 becomes 2, each pipeline "
    "stage has 2 layers, Megatron's local modules stand in for Transformer Engine's, fp16 begins with a loss scale "
    "that fits, several ranks save synchronously, and what a plan decides itself (rates, lengths, data, tokenizer, "
    "where a run starts and ends) is left out"
)
"""The rule, for the page that shows the results."""

_TOY = {
    "hidden-size": 64,
    "num-attention-heads": 4,
    "kv-channels": 16,
    "num-query-groups": 2,
    "ffn-hidden-size": 128,
    "num-experts": 4,
    "moe-ffn-hidden-size": 64,
    "moe-shared-expert-intermediate-size": 64,
    "moe-router-num-groups": 2,
    "moe-router-group-topk": 1,
    "q-lora-rank": 16,
    "kv-lora-rank": 16,
    "qk-head-dim": 16,
    "qk-pos-emb-head-dim": 8,
    "v-head-dim": 16,
    "linear-key-head-dim": 8,
    "linear-value-head-dim": 8,
    "linear-num-key-heads": 4,
    "linear-num-value-heads": 4,
    "micro-batch-size": 1,
    "step-batch-size-schedule": "0:2 64:4",
    "make-vocab-size-divisible-by": 128,
    "decoder-first-pipeline-num-layers": 2,
    "decoder-last-pipeline-num-layers": 2,
    "num-layers-per-virtual-pipeline-stage": 1,
    "num-virtual-stages-per-pipeline-rank": 2,
    "save-interval": 100,
    "eval-interval": 100,
    "transformer-impl": "local",
    "attention-backend": "unfused",
    "distributed-backend": "gloo",
    "num-workers": 0,
    "async-strategy": "mcore",
}
_MAMBA = {"mamba-num-heads": 4, "mamba-head-dim": 16, "mamba-num-groups": 2, "mamba-state-dim": 16}
_PARALLEL = ("tensor-model-parallel-size", "pipeline-model-parallel-size", "expert-model-parallel-size",
             "expert-tensor-parallel-size", "context-parallel-size")  # fmt: skip
_ADDED_LAYERS = ("account-for-embedding-in-pipeline-split", "account-for-loss-in-pipeline-split")
_PATTERNS = ("moe-layer-freq", "no-rope-freq", "linear-attention-freq")
_SAVES_LATER = ("async-", "use-persistent-ckpt-worker")
_LEFT_OUT = {
    *("exit-interval", "exit-duration-in-mins", "ckpt-step", "finetune", "no-load-optim", "no-load-rng"),
    *("use-checkpoint-args", "use-checkpoint-opt_param-scheduler", "override-opt_param-scheduler", "mock-data"),
    *("auto-detect-ckpt-format", "save-retain-interval", "eval-iters", "max-position-embeddings", "lr-warmup-init"),
    *("eval-global-batch-size", "eval-micro-batch-size", "pipeline-model-parallel-layout", "padded-vocab-size"),
    *(
        "ckpt-format",
        "no-use-tokenizer-model-from-checkpoint-args",
        "tiktoken-pattern",
        "init-method-std",
        "wgrad-deferral-limit",
    ),
    *("wandb-project", "wandb-exp-name", "wandb-entity", "wandb-save-dir", "te-precision-config-file", "logging-level"),
}


class Configuration(NamedTuple):
    """A training configuration, shrunk.

    Attributes:
        name: Its kind and folder.
        flags: The flags of a plan.
        ranks: The number of ranks to train it with.
    """

    name: str
    flags: dict[str, Any]
    ranks: int


def configurations(checkout: Path) -> Iterator[Configuration]:
    """Yield the training configurations of a checkout of Megatron-LM, without those of inference and RL."""
    for kind in KINDS:
        for file in sorted((checkout / "tests" / "functional_tests" / "test_cases" / kind).glob("*/model_config.yaml")):
            given = yaml.safe_load(file.read_text())["MODEL_ARGS"]
            name = file.parent.name
            trains = isinstance(given, dict) and not any("inference" in key or "rl-" in key for key in (name, *given))
            if trains and "_rl_" not in name:
                yield shrunken(f"{kind}/{name}", {key.lstrip("-"): value for key, value in given.items()})


def shrunken(name: str, given: Mapping[str, Any]) -> Configuration:
    """Apply the rule to a configuration's flags."""
    flags: dict[str, Any] = {}
    for flag, value in given.items():
        argument = by_flag().get(flag)
        decided = argument is not None and argument.in_class in ("place", "tokenizer")
        if flag in OWNED or flag in _LEFT_OUT or decided or "${" in str(value):
            continue
        flags[flag] = _value(flag, value)
    tensor, stages, experts, _, context = (flags.get(flag, 1) for flag in _PARALLEL)
    if experts > 1:
        flags["expert-tensor-parallel-size"] = 1
    if (pattern := pattern_of(given)) is not None:
        flags.pop("num-layers", None)
        if MAMBA in pattern:
            flags |= _MAMBA
    elif "num-layers" in given:
        flags["num-layers"] = 2 * stages - sum(flag in given for flag in _ADDED_LAYERS)
    for flag in _PATTERNS:
        if isinstance(flags.get(flag), str) and "[" in flags[flag]:
            flags[flag] = [0] + [1] * (flags.get("num-layers", 2) - 1)
    if flags.get("moe-router-topk", 1) > 2:
        flags["moe-router-topk"] = 2
    instances = flags.get("num-distributed-optimizer-instances", 1)
    ranks = max(tensor * instances, experts, context) * stages
    if flags.get("fp16"):  # at Megatron's own all steps up to the fork would be skipped
        flags["initial-loss-scale"] = 4096
    if flags.get("async-save"):
        flags["async-strategy"] = "mcore"
    if ranks > 1:  # each rank's writer imports Megatron, which takes longer than all else
        flags = {flag: value for flag, value in flags.items() if not flag.startswith(_SAVES_LATER)}
    return Configuration(name, flags, ranks)


def _value(flag: str, value: Any) -> Any:
    if flag in _PARALLEL:
        return min(value, 2)
    argument = by_flag().get(flag)
    if argument is not None and argument.is_list and isinstance(value, str):
        words = value.strip("[]").replace(",", " ").split()
        return [int(word) if word.isdigit() else word for word in words]
    return _TOY.get(flag, value)
