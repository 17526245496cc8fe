"""Mistral: a Llama whose tokens attend to a window."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import linear_bias
from megatron_lrps.convert.families.family import Family


def _model_of(config: Mapping[str, Any], name: str) -> Model:
    linear_bias(config, name, attention=False)
    return llama_like.model_of(config, name, window=config.get("sliding_window"))


FAMILY = Family(
    name="mistral",
    architecture="MistralForCausalLM",
    is_marked=lambda args: args.get("window_size") is not None,
    arguments={**llama_like.ARGUMENTS, "add_bias_linear": False},
    config_of=lambda model: {**llama_like.config_of(model), "sliding_window": model.window},
    model_of=_model_of,
)
