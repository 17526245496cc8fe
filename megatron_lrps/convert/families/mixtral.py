"""Mixtral: a Llama with experts, whose router renormalises the weights of those that it chooses."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import linear_bias, refuse_window
from megatron_lrps.convert.families.family import Family, WeightNames


def _model_of(config: Mapping[str, Any], name: str) -> Model:
    linear_bias(config, name, attention=False)
    refuse_window(config, name)
    return llama_like.model_of(
        config,
        name,
        rope_base=1e6,
        epsilon=1e-5,
        experts=config.get("num_local_experts", config.get("num_experts", 0)),
        top_k=config["num_experts_per_tok"],
    )


FAMILY = Family(
    name="mixtral",
    architecture="MixtralForCausalLM",
    is_marked=llama_like.has_experts,
    arguments={
        **llama_like.ARGUMENTS,
        "window_size": False,
        "moe_router_pre_softmax": False,
        "add_bias_linear": False,
    },
    config_of=lambda model: {
        **llama_like.config_of(model),
        "sliding_window": model.window,
        "num_local_experts": model.experts,
        "num_experts_per_tok": model.top_k,
    },
    model_of=_model_of,
    names=WeightNames(
        router="block_sparse_moe.gate.weight", experts="block_sparse_moe.experts", expert=("w1", "w3", "w2")
    ),
)
