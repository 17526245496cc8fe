"""Settings of Bridge's config that a path cannot be trained with, each with its reason."""

from typing import Any

from megatron_lrps.bridge.config_values import ABSENT, value_at
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.refused_flags import UNSAFE
from megatron_lrps.schedule import Batches

_KEPT = "fork-or-resume does not look at checkpoints that are not kept; save_interval and async_save save often"
_ONE_BATCH = "in this loop, a path's positions are iterations of one global_batch_size"
_FIT: dict[str, tuple[tuple[Any, ...], str]] = {
    "peft": ((None,), "a path trains all weights, and an adapter's checkpoint is no fork point"),
    "inprocess_restart.enabled": (
        (False,),
        "a process decides once where its path starts; let the launcher start it again",
    ),
    "train.rampup_batch_size": ((None,), _ONE_BATCH),
    "train.step_batch_size_schedule": ((None,), _ONE_BATCH),
    "train.decrease_batch_size_if_needed": ((False,), UNSAFE["decrease-batch-size-if-needed"]),
    "train.iterations_to_skip": (([], None), UNSAFE["iterations-to-skip"]),
    "train.num_epochs": ((None,), "the plan counts iterations"),
    "train.skip_train": ((None, False), UNSAFE["skip-train"]),
    "validation.skip_train": ((False, None), UNSAFE["skip-train"]),
    "scheduler.override_opt_param_scheduler": ((False,), UNSAFE["override-opt_param-scheduler"]),
    "scheduler.use_checkpoint_opt_param_scheduler": ((False,), UNSAFE["use-checkpoint-opt_param-scheduler"]),
    "checkpoint.ckpt_format": (("torch_dist",), "fork-or-resume reads torch_dist alone"),
    "checkpoint.ckpt_step": ((None,), UNSAFE["ckpt-step"]),
    "checkpoint.finetune": ((False,), UNSAFE["finetune"]),
    "checkpoint.load_optim": ((True,), UNSAFE["no-load-optim"]),
    "checkpoint.load_rng": ((True,), UNSAFE["no-load-rng"]),
    "checkpoint.save_optim": ((True,), UNSAFE["no-save-optim"]),
    "checkpoint.save_rng": ((True,), UNSAFE["no-save-rng"]),
    "checkpoint.load_main_params_from_ckpt": ((False,), "it is for a load without the optimizer"),
    "checkpoint.most_recent_k": (
        (-1, None),
        "it deletes fork points; `keep` of the plan and lrps gc remove the others",
    ),
    "checkpoint.non_persistent_save_interval": ((None,), _KEPT),
    "checkpoint.non_persistent_ckpt_type": ((None,), _KEPT),
    "checkpoint.custom_manager_class": ((None,), "a path is saved and loaded by a manager of its own"),
    "dist.use_megatron_fsdp": ((False,), "its checkpoints are not tried as fork points"),
    "dist.use_torch_fsdp2": ((False,), "its checkpoints are not tried as fork points"),
    "ddp.use_megatron_fsdp": ((False,), "its checkpoints are not tried as fork points"),
    "model.restore_modelopt_state": ((False, None), "quantized weights are not tried at a fork"),
    "dataset.fim_data": ((False,), "fill-in-the-middle changes samples, and a timeline has those of the windows"),
}
"""Place -> the values that fit, the first as advice, and the reason. A place that a release lacks fits."""
_COUNTED_IN_32_BITS = (0, 4)


def refuse_unfit(config: Any) -> None:
    """Refuse settings that would make a path wrong without a word; raises RefusedError, naming the first one."""
    for place, (fit, reason) in _FIT.items():
        value = value_at(config, place)
        if value is not ABSENT and value not in fit:
            raise RefusedError(f"config.{place} is {value!r}: {reason}.", f"set config.{place} = {fit[0]!r}.")
    if hasattr(config.model, "megatron_mimo_parallelism_config"):
        raise RefusedError(
            "config.model is a MegatronMIMO model, whose parts have layouts of their own.", "train it without a plan."
        )


def refuse_several(batches: Batches) -> None:
    """Refuse a plan whose batch rises, since a path has one batch in Bridge's loop; raises RefusedError."""
    if batches.rises:
        raise RefusedError(
            f"The plan's batch is {batches.words}, and in Bridge's loop a path has one batch.",
            "train it in Megatron-LM's loop, or with one global_batch_size.",
        )


def refuse_uncountable(series: tuple[int, int], samples: int) -> None:
    """Refuse a path with more samples than this release of Bridge can count.

    Args:
        series: The release, such as (0, 4).
        samples: The samples up to the path's end.

    Raises:
        RefusedError: naming both numbers.
    """
    most = 2**31 - 1
    if series <= _COUNTED_IN_32_BITS and samples > most:
        raise RefusedError(
            f"The path ends at sample {samples:,}, and Megatron-Bridge 0.4 counts to {most:,}: later saves fail.",
            "train it with megatron-bridge 0.5 or later.",
        )
