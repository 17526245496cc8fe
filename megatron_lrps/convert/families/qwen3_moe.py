"""Qwen3-MoE: a Qwen3 with experts."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like, qwen_experts
from megatron_lrps.convert.families.config_keys import linear_bias
from megatron_lrps.convert.families.family import Family


def _model_of(config: Mapping[str, Any], name: str) -> Model:
    linear_bias(config, name, attention=bool(config.get("attention_bias", False)))
    return qwen_experts.model_of(config, name, qk_norm=True)


FAMILY = Family(
    name="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    is_marked=lambda args: llama_like.has_experts(args) and bool(args.get("qk_layernorm")),
    arguments={**llama_like.ARGUMENTS, "window_size": False, "add_bias_linear": False},
    config_of=qwen_experts.config_of,
    model_of=_model_of,
)
