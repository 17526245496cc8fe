"""What a plan decides in Bridge's config: it is set, and a config that says otherwise of the model's run is refused."""

import os
from pathlib import Path
from typing import Any

from megatron_lrps.bridge.config_values import ABSENT, put, value_at, was_chosen
from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.flags import DEFAULTS, PRETRAINED, warmup_init
from megatron_lrps.training.arguments import Planned

MANAGER = "megatron_lrps.bridge.checkpoint_manager.PathCheckpointManager"
_OF_OTHER_SCHEDULES: dict[str, Any] = {
    "lr_decay_iters": None,
    "lr_decay_samples": None,
    "lr_wsd_decay_iters": None,
    "lr_wsd_decay_samples": None,
    "lr_warmup_fraction": None,
    "lr_warmup_samples": 0,
    "max_steps": None,
}


def decide(config: Any, planned: Planned) -> None:
    """Set on the config what the plan decides, and say what has been another value before.

    Args:
        config: Bridge's ConfigContainer, not yet validated.
        planned: The plan's path.

    Raises:
        RefusedError: naming a value that contradicts the plan, and both values.
    """
    plan = planned.tree.plan_of(planned.path)
    _agree(config, plan)
    _agree_on_tokenizer(config, plan)
    folder, path = planned.campaign.folder, planned.path
    pretrained = plan.megatron.get(PRETRAINED, value_at(config, f"checkpoint.{PRETRAINED.replace('-', '_')}"))
    decided = {
        "train.train_iters": path.end,
        "train.train_samples": None,
        "train.exit_signal_handler": True,
        "checkpoint.save": str(folder.path(path.name).checkpoints),
        "checkpoint.load": None,
        "checkpoint.pretrained_checkpoint": pretrained if path.parent is None else None,
        "checkpoint.save_interval": _save_interval(config, plan),
        "scheduler.lr_decay_style": "constant",
        "scheduler.lr_warmup_iters": plan.lr.warmup_iters,
        **{f"scheduler.{name}": value for name, value in _OF_OTHER_SCHEDULES.items()},
        "logger.tensorboard_dir": str(plan.folder / "tensorboard" / path.name),
    }
    for place, value in decided.items():
        chosen = was_chosen(config, place)
        before = put(config, place, value)
        if chosen and before != value:
            _say(f"the plan decides config.{place}: {value!r}, where the script has {before!r}.")
    config.checkpoint.custom_manager_class = MANAGER


def _save_interval(config: Any, plan: Plan) -> Any:
    own = value_at(config, "checkpoint.save_interval")
    return plan.megatron.get("save-interval", own or DEFAULTS["save-interval"])


def _agree(config: Any, plan: Plan) -> None:
    """Set values that a script may leave out, and refuse others than the plan's; raises RefusedError."""
    wanted = {
        "model.seq_length": ("sequence_length", plan.sequence_length),
        "dataset.seq_length": ("sequence_length", plan.sequence_length),
        "train.global_batch_size": ("global_batch_size", plan.global_batch_size),
        "optimizer.lr": ("lr.max", plan.lr.max),
        "optimizer.min_lr": ("lr.min", plan.lr.min),
        "scheduler.lr_warmup_init": ("megatron.lr-warmup-init", warmup_init(plan)),
    }
    for place, (key, value) in wanted.items():
        here = value_at(config, place)
        if here is not None and here is not ABSENT and here != value:
            raise RefusedError(
                f"config.{place} is {here!r}, and the plan's {key} is {value!r}.",
                f"set config.{place} = {value!r}, or leave it None, or change the plan.",
            )
        put(config, place, value)


def _agree_on_tokenizer(config: Any, plan: Plan) -> None:
    if plan.tokenizer is None:
        return
    model = plan.tokenizer.model
    _agree_on("tokenizer_type", "tokenizer.type", config, plan.tokenizer.megatron_type)
    _agree_on("vocab_size", "tokenizer.vocab_size", config, plan.tokenizer.vocab_size)
    here = value_at(config, "tokenizer.tokenizer_model")
    if model is None or here is ABSENT:
        return
    if here is None:
        put(config, "tokenizer.tokenizer_model", str(model))
    elif Path(str(here)).resolve() != model.resolve() and tokenizer_fingerprint(here) != tokenizer_fingerprint(model):
        raise RefusedError(
            f"config.tokenizer.tokenizer_model is {here}, and the plan's tokenizer.model is {model}: their contents "
            "differ.",
            "set it to the plan's, or leave it None.",
        )


def _agree_on(field: str, key: str, config: Any, value: Any) -> None:
    here = value_at(config, f"tokenizer.{field}")
    if value is None or here is ABSENT:
        return
    if here is not None and here != value:
        raise RefusedError(
            f"config.tokenizer.{field} is {here!r}, and the plan's {key} is {value!r}.", "make them agree."
        )
    put(config, f"tokenizer.{field}", value)


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(f"lrps: {text}", flush=True)
