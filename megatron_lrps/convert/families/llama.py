"""Llama: grouped queries or not, tied or not, biases in all linear layers or in none, Llama 3's RoPE scaling."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    biases = llama_like.biases_of(config)
    heads = config.count("num_attention_heads")
    if config.count("hidden_size") % heads:  # transformers refuses it too, also where head_dim is given
        raise config.refused("hidden_size", f"num_attention_heads {heads} must divide it")
    config.need("sliding_window", None)
    config.need("rope_interleaved", False)
    config.harmless("is_llama_config")
    return llama_like.model_of(config, "llama", **biases)


FAMILY = Family(
    name="llama",
    models="Llama 2, 3 to 3.2",
    made_by=(
        "RMSNorm, SwiGLU, RoPE; grouped queries or not, tied or not, biases in all linear layers or in none; "
        "RoPE scaling of Llama 3, YaRN or linear"
    ),
    architecture="LlamaForCausalLM",
    is_marked=lambda args: True,
    arguments=llama_like.ARGUMENTS,
    config_of=lambda model: {**llama_like.config_of(model), **llama_like.bias_keys_of(model)},
    defaults={**llama_like.DEFAULTS, "sliding_window": None, "rope_interleaved": False},
    model_of=_model_of,
)
