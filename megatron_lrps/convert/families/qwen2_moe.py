"""Qwen2-MoE: a Qwen2 with experts, beside one behind a gate that all tokens go to."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like, qwen_experts
from megatron_lrps.convert.families.config_keys import linear_bias, need
from megatron_lrps.convert.families.family import Family

_ITS_OWN = ("moe_shared_expert_intermediate_size", "moe_shared_expert_gate", "add_qkv_bias")


def _model_of(config: Mapping[str, Any], name: str) -> Model:
    linear_bias(config, name, attention=False)
    need(config, name, "qkv_bias", True)
    return qwen_experts.model_of(config, name, qkv_bias=True, shared_ffn=config["shared_expert_intermediate_size"])


FAMILY = Family(
    name="qwen2_moe",
    architecture="Qwen2MoeForCausalLM",
    is_marked=lambda args: llama_like.has_experts(args) and any(args.get(name) for name in _ITS_OWN),
    arguments={
        **llama_like.ARGUMENTS,
        **dict.fromkeys(_ITS_OWN, True),
        "add_bias_linear": False,
        "qk_layernorm": False,
        "window_size": False,
    },
    config_of=lambda model: qwen_experts.config_of(
        model, qkv_bias=True, shared_expert_intermediate_size=model.shared_ffn
    ),
    model_of=_model_of,
)
