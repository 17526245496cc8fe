"""Bridge's config as Megatron's arguments: the names by which a run is compared with the checkpoint it continues.

Most fields have the name of the argument. What is no argument of Megatron's is taken of the model and the optimizer
alone, and compared too: what is on no list may not differ unless ``allow`` names it.
"""

import dataclasses
import enum
from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from megatron_lrps.bridge.bridge_release import LOOP as BRIDGE
from megatron_lrps.bridge.config_values import ABSENT, value_at
from megatron_lrps.campaign.past_arguments import allowed
from megatron_lrps.campaign.same_run import LOOP
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.flags import PRETRAINED
from megatron_lrps.plan.megatron_arguments import arguments, by_flag, read_value

_WHOLE = ("model", "model.transformer", "optimizer", "dataset.cut_by")
"""Sections of which every field counts, in falling order of precedence."""
_KNOWN = ("ddp", "scheduler", "validation", "train", "checkpoint", "rng", "dist", "tokenizer", "logger")
"""Sections of which the fields count that Megatron has an argument for."""
_OTHER_NAMES = {
    "model.layernorm_epsilon": "norm_epsilon",
    "model.num_layers_in_first_pipeline_stage": "decoder_first_pipeline_num_layers",
    "model.num_layers_in_last_pipeline_stage": "decoder_last_pipeline_num_layers",
    "ddp.bucket_size": "ddp_bucket_size",
    "ddp.pad_buckets_for_high_nccl_busbw": "ddp_pad_buckets_for_high_nccl_busbw",
    "ddp.average_in_collective": "ddp_average_in_collective",
    "checkpoint.fully_parallel_save": "ckpt_fully_parallel_save",
    "tokenizer.special_tokens": "tokenizer_special_tokens",
    "dataset.random_seed": "dataset_random_seed",
    "dataset.path_to_cache": "data_cache_path",
}
"""Place in the config -> the argument's destination, where the names differ."""
_NEEDED = {
    "virtual_pipeline_model_parallel_size": None,
    "microbatch_group_size_per_vp_stage": None,
    "fp16": False,
    "bf16": False,
    "lr_warmup_init": 0.0,
    "padded_vocab_size": None,
    "tensorboard_log_interval": 1,
    "use_distributed_optimizer": False,
}
"""Arguments that the start of a run reads, and their values where a config lacks them."""
_FOR_SPEED = (
    *("batch_p2p_", "bias_activation_fusion", "cpu_offloading", "cuda_graph_", "deallocate_pipeline_outputs"),
    *("disable_parameter_transpose_cache", "fused_single_qkv_rope", "memory_efficient_layer_norm"),
    *("num_microbatches_with_partial_activation_checkpoints", "persist_layer_norm", "tp_comm_"),
)
"""How fields of the model begin that change speed and memory alone, as such arguments of Megatron's may differ too."""
_WORDS = (bool, int, float, str)


def run_arguments(config: Any, allow: Sequence[str], end: int) -> Namespace:
    """Return the config as Megatron's arguments. The ranks are connected, and Bridge has validated the config.

    Args:
        config: Bridge's ConfigContainer.
        allow: The names of arguments that may differ from the checkpoint's.
        end: The path's last iteration.

    Raises:
        RefusedError: if ``allow`` names what may not differ.
    """
    found: dict[str, Any] = dict(_NEEDED)
    for section in reversed((*_WHOLE, *_KNOWN)):
        every = section in _WHOLE
        found |= {name: value for name, value in _fields(value_at(config, section)) if every or name in arguments()}
    for place, name in _OTHER_NAMES.items():
        if (value := value_at(config, place)) is not ABSENT:
            found.pop(place.rpartition(".")[2], None)
            found[name] = _plain(value)
    shared = value_at(config, "model.share_embeddings_and_output_weights")
    if isinstance(shared, bool):
        found["untie_embeddings_and_output_weights"] = not shared
    if value_at(config, "model.gated_linear_unit") is True:
        found["swiglu"] = "silu" in str(found.get("activation_func"))
    found |= {
        LOOP: BRIDGE,
        "rank": torch.distributed.get_rank(),
        "world_size": torch.distributed.get_world_size(),
        "data_parallel_size": config.data_parallel_size,
        "train_iters": end,
        "iteration": 0,
        "consumed_train_samples": 0,
    }
    found["lrps_allow"] = allowed(allow, found) or None
    return Namespace(**found)


def plain_arguments(args: Namespace) -> dict[str, Any]:
    """Return the arguments that a checkpoint carries, as JSON has them."""
    return {name: value for name, value in vars(args).items() if _plain(value) is not None or value is None}


def refuse_other_flags(plan: Plan, args: Namespace) -> None:
    """Refuse a config that is not what ``megatron:`` of the plan says; raises RefusedError with both values."""
    for flag, value in plan.megatron.items():
        if value is False or flag in (PRETRAINED, "save-interval"):
            continue
        argument = by_flag().get(flag)
        if argument is None or not hasattr(args, argument.destination):
            raise RefusedError(
                f"megatron.{flag} is {value} in the plan, and Bridge's config has no field of that name to compare.",
                "remove it from the plan, and set in the script what it stands for.",
            )
        wanted, here = read_value(argument, value, flag), getattr(args, argument.destination)
        if wanted != here:
            raise RefusedError(
                f"megatron.{flag} is {value} in the plan, and {here} in Bridge's config.", "make them agree."
            )


def _fields(section: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(section, dict):
        yield from section.items()
    if not dataclasses.is_dataclass(section):
        return
    for field in dataclasses.fields(section):
        value = getattr(section, field.name, None)
        # The loop itself sets functions, such as finalize_model_grads_func, when it trains.
        passed = field.name.startswith(("_", *_FOR_SPEED)) or field.name.endswith(("_func", "timers"))
        if (not passed or field.name == "activation_func") and (value is None or _plain(value) is not None):
            yield field.name, _plain(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, a function or type by its name; None for what is neither."""
    if value is None or type(value) in _WORDS:
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return None if any(item is None for item in items) else items
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    name = getattr(value, "__qualname__", "")
    return f"{value.__module__}.{name}" if name and "<" not in name else None
