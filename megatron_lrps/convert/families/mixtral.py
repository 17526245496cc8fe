"""Mixtral: a Llama with experts, whose router renormalises the weights of those that it chooses."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.experts import experts_of
from megatron_lrps.convert.families.family import Family, WeightNames


def _model_of(config: ConfigKeys) -> Model:
    llama_like.no_biases(config)
    config.need("sliding_window", None)
    experts, top_k = experts_of(config, "num_local_experts", "num_experts")
    if top_k == 1:
        raise config.refused("num_experts_per_tok", "Megatron cannot renormalise the weight of one expert")
    return llama_like.model_of(config, "mixtral", experts=experts, top_k=top_k)


FAMILY = Family(
    name="mixtral",
    models="Mixtral",
    made_by="a Llama with experts, whose weights are renormalised",
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
    defaults={
        **llama_like.DEFAULTS,
        **llama_like.LIKE_MISTRAL,
        "rope_theta": 1e6,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "num_local_experts": 8,
        "num_experts": 8,
        "num_experts_per_tok": 2,
    },
    model_of=_model_of,
    names=WeightNames(
        router="block_sparse_moe.gate.weight", experts="block_sparse_moe.experts", expert=("w1", "w3", "w2")
    ),
)
