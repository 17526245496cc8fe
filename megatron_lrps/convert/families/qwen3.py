"""Qwen3: a Llama with norms of queries and keys."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import linear_bias, refuse_used_window
from megatron_lrps.convert.families.family import Family


def _model_of(config: Mapping[str, Any], name: str) -> Model:
    linear_bias(config, name, attention=bool(config.get("attention_bias", False)))
    refuse_used_window(config, name)
    return llama_like.model_of(config, name, qk_norm=True)


FAMILY = Family(
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    is_marked=lambda args: bool(args.get("qk_layernorm")),
    arguments={**llama_like.ARGUMENTS, "add_qkv_bias": False, "window_size": False, "add_bias_linear": False},
    config_of=lambda model: {**llama_like.config_of(model), "use_sliding_window": False},
    model_of=_model_of,
)
