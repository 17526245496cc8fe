"""The Megatron argument line of a path: flags from the plan's own keys, then those it passes through.

One function makes it for `lrps args`, for the local executor and for Slurm. The training side makes it again
from the same plan, to check the flags it was given.
"""

from pathlib import Path

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.async_saves import refuse_ignored_async_save
from megatron_lrps.plan.batch_schedule import BATCH_FLAGS, batch_flags
from megatron_lrps.plan.cpu_flags import CPU_FLAGS
from megatron_lrps.plan.flag_combinations import refuse_incomplete
from megatron_lrps.plan.flag_ranges import refuse_out_of_range, refuse_without_gpu
from megatron_lrps.plan.hybrid_pattern import refuse_wrong_pattern
from megatron_lrps.plan.keys.flag_values import FlagValue
from megatron_lrps.plan.keys.values import shown
from megatron_lrps.plan.megatron_arguments import refuse_known_flags, refuse_unknown_flags, words
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import PlannedPath, Tree
from megatron_lrps.plan.refused_flags import NO_RESUME, UNSAFE
from megatron_lrps.plan.validation_flags import validation_flags

_DECIDED_BY = {
    "lr.max": "lr",
    "lr.min": "min-lr",
    "lr.warmup_iters": "lr-warmup-iters lr-warmup-samples lr-warmup-fraction",
    "decay.shape": "lr-decay-style lr-wsd-decay-style",
    "decay.alpha": "lr-decay-iters lr-decay-samples lr-wsd-decay-iters lr-wsd-decay-samples",
    "versions[].iters": "train-iters",
    "versions[].samples": "train-samples",
    "sequence_length": "seq-length encoder-seq-length",
    "global_batch_size": "global-batch-size",
    "save": "save load tensorboard-dir",
    "versions[].train": "data-path train-data-path data-args-path per-split-data-args-path",
    "versions[].valid": "valid-data-path test-data-path split",
    "tokenizer.type": "tokenizer-type",
    "tokenizer.model": "tokenizer-model",
    "tokenizer.vocab_size": "vocab-size",
    "tokenizer.pattern": "tiktoken-pattern",
    "tokenizer.num_special_tokens": "tiktoken-num-special-tokens",
    "tokenizer.special_tokens": "tokenizer-special-tokens",
}
"""Key of the plan -> the Megatron flags that it sets."""

OWNED = {flag: key for key, flags in _DECIDED_BY.items() for flag in flags.split()}
"""Megatron flag that a plan key sets -> that key; ``megatron:`` may not have these flags."""

DEFAULTS: dict[str, FlagValue] = {
    "micro-batch-size": 1,
    "save-interval": 1000,
    "log-interval": 1,
    "eval-interval": 1000,
    "ckpt-format": "torch_dist",
    "dataloader-type": "single",
    "exit-signal-handler": True,
    "exit-signal": "SIGUSR2",
    "log-throughput": True,
    "log-validation-ppl-to-tensorboard": True,
    "tensorboard-log-interval": 1,
    "distributed-timeout-minutes": 30,
}
"""The flags of a path, unless ``megatron:`` sets them otherwise."""

PRETRAINED = "pretrained-checkpoint"
"""Weights (`lrps import`) that a path without a parent starts from while it has no checkpoint of its own."""

FIXED = ("ckpt-format", "dataloader-type", "exit-signal-handler")
"""Defaults that ``megatron:`` may not change: the timeline, the fork and the stop depend on them."""


def checkpoints_folder(folder: Path, path: str) -> Path:
    """Return a path's checkpoints folder in the campaign's folder (Megatron's own layout inside)."""
    return folder / "paths" / path / "checkpoints"


def path_flags(tree: Tree, path: PlannedPath) -> dict[str, FlagValue]:
    """Return flag -> value for a path, without the leading dashes and without ``--lrps-*``.

    Raises:
        PlanError: a flag in ``megatron:`` contradicts the plan, or would make it wrong.
    """
    plan = tree.plan_of(path)
    _refuse_owned(plan)
    refuse_out_of_range(plan.megatron, "megatron.")
    refuse_incomplete({**(CPU_FLAGS if plan.launch.device == "cpu" else {}), **plan.megatron}, "megatron.")
    refuse_wrong_pattern(plan.megatron, "megatron.", cpu=plan.launch.device == "cpu")
    refuse_ignored_async_save(plan.megatron, "megatron.")
    warmup_init(plan)
    flags: dict[str, FlagValue] = {
        **DEFAULTS,
        "seq-length": plan.sequence_length,
        "max-position-embeddings": plan.sequence_length,
        **batch_flags(tree.batches, plan.sequence_length),
        "lr": plan.lr.max,
        "min-lr": plan.lr.min,
        "lr-warmup-iters": plan.lr.warmup_iters,
        "lr-decay-style": "constant",
        "train-iters": path.end,
        "save": str(checkpoints_folder(plan.folder, path.name)),
        "tensorboard-dir": str(plan.folder / "tensorboard" / path.name),
        "data-cache-path": str(plan.folder / "cache"),
        **_tokenizer_flags(plan),
        **{flag: value for flag, value in plan.megatron.items() if flag not in BATCH_FLAGS},
        **plan.script_flags,
        **validation_flags(tree, path),
    }
    refuse_unknown_flags(plan.megatron)
    refuse_known_flags(plan.script_flags)
    if PRETRAINED in flags and plan.main is not None:
        raise PlanError(
            f"megatron.{PRETRAINED}: it is given beside main.adopt, and main starts from one of them only.",
            "remove one of the two.",
        )
    if plan.megatron.get("no-initialization") is True and PRETRAINED not in flags and plan.main is None:
        raise PlanError(
            "megatron.no-initialization: the paths start from scratch, so from weights that nothing has set.",
            f"remove it, or give weights to start from: {PRETRAINED}, or main.adopt.",
        )
    if path.parent is not None:
        # A branch starts from its fork point. If that is missing, these weights must not take its place.
        flags.pop(PRETRAINED, None)
    if plan.launch.device == "cpu":
        refuse_without_gpu(plan.megatron, "megatron.")
        for flag, value in CPU_FLAGS.items():
            if str(plan.megatron.get(flag, value)) != str(value):
                raise PlanError(
                    f"megatron.{flag}: {shown(plan.megatron[flag])} is given, but the CPU backend runs only with "
                    f"{value!r}.",
                    "remove it, or set launch.device: gpu.",
                )
            flags[flag] = value
    return flags


def refuse_to_train_mean(path: PlannedPath) -> None:
    """Refuse to let Megatron train a path that is a mean of checkpoints; raises PlanError."""
    if path.mean:
        raise PlanError(
            f"{path.name} is {path.mean_words}, and Megatron trains nothing for it.",
            f"make it with lrps run PLAN --path {path.name}, or lrps submit.",
        )


def warmup_init(plan: Plan) -> float:
    """Return the learning rate at the start of the warm-up (``--lr-warmup-init``, default 0); raises PlanError."""
    value = plan.megatron.get("lr-warmup-init", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= plan.lr.max:
        raise PlanError(f"megatron.lr-warmup-init: {shown(value)} is not a number in [0, lr.max].", "correct it.")
    return float(value)


def lr_range(plan: Plan) -> dict[str, float]:
    """Return the keyword arguments of `Schedule.lr`; raises PlanError."""
    return {"max_lr": plan.lr.max, "min_lr": plan.lr.min, "init_lr": warmup_init(plan)}


def argument_line(flags: dict[str, FlagValue]) -> list[str]:
    """Return the flags as an argument list: true is a switch, false leaves the flag out."""
    line: list[str] = []
    for flag, value in flags.items():
        if value is False:
            continue
        line.append(f"--{flag}")
        if value is not True:
            line.extend(words(flag, value))
    return line


def _tokenizer_flags(plan: Plan) -> dict[str, FlagValue]:
    tokenizer = plan.tokenizer
    if tokenizer is None:
        return {}
    model = str(tokenizer.model) if tokenizer.model else None
    flags: dict[str, FlagValue | None] = {
        "tokenizer-type": tokenizer.megatron_type,
        "tokenizer-model": model,
        "vocab-size": tokenizer.vocab_size,
        "tiktoken-pattern": tokenizer.pattern,
        "tiktoken-num-special-tokens": tokenizer.num_special_tokens,
        "tokenizer-special-tokens": list(tokenizer.special_tokens) if tokenizer.special_tokens else None,
    }
    return {flag: value for flag, value in flags.items() if value is not None}


def _refuse_owned(plan: Plan) -> None:
    for flag, value in plan.megatron.items():
        if flag in OWNED:
            raise PlanError(
                f"megatron.{flag}: {shown(value)} is given, but the plan's {OWNED[flag]} decides it.",
                f"remove it, and set {OWNED[flag]}.",
            )
        if flag in UNSAFE and value is not False:
            raise PlanError(f"megatron.{flag}: {shown(value)} is refused: {UNSAFE[flag]}.", "remove it.")
        if flag in FIXED and repr(value) != repr(DEFAULTS[flag]):
            raise PlanError(
                f"megatron.{flag}: {shown(value)} is given, but a campaign needs {DEFAULTS[flag]!r}.", "remove it."
            )
        if flag.startswith("lrps-"):
            raise PlanError(f"megatron.{flag}: the plugin's own flags do not belong here.", "remove it.")
        if (reason := NO_RESUME.get((flag, str(value)))) is not None:
            raise PlanError(f"megatron.{flag}: {shown(value)} is refused: {reason}.", "choose another.")
