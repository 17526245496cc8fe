"""Qwen2: a Llama with biases in the query, key and value projections."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import linear_bias, refuse_used_window
from megatron_lrps.convert.families.family import Family


def _model_of(config: Mapping[str, Any], name: str) -> Model:
    linear_bias(config, name, attention=False)
    refuse_used_window(config, name)
    return llama_like.model_of(config, name, qkv_bias=True)


FAMILY = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    is_marked=lambda args: bool(args.get("add_qkv_bias")) and not args.get("add_bias_linear"),
    arguments={**llama_like.ARGUMENTS, "window_size": False},
    config_of=lambda model: {**llama_like.config_of(model), "use_sliding_window": False},
    model_of=_model_of,
)
