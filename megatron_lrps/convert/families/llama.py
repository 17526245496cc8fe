"""Llama: grouped queries or not, tied or not, biases in all linear layers or in none, Llama 3's RoPE scaling."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import linear_bias, refuse_window
from megatron_lrps.convert.families.family import Family


def _model_of(config: Mapping[str, Any], name: str) -> Model:
    bias = linear_bias(config, name, attention=bool(config.get("attention_bias", False)), can=True)
    refuse_window(config, name)
    return llama_like.model_of(config, name, bias=bias, qkv_bias=bias)


FAMILY = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    is_marked=lambda args: True,
    arguments=llama_like.ARGUMENTS,
    config_of=lambda model: {**llama_like.config_of(model), "attention_bias": model.bias, "mlp_bias": model.bias},
    model_of=_model_of,
)
