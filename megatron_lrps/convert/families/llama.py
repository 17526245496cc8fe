"""Llama: grouped queries or not, tied or not, biases in all linear layers or in none, Llama 3's RoPE scaling."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    bias = config.switch("attention_bias")
    if config.switch("mlp_bias") != bias:
        raise config.refused("mlp_bias", f"attention_bias is {bias}, and Megatron has biases in all layers or in none")
    heads = config.count("num_attention_heads")
    if config.count("hidden_size") % heads:  # transformers refuses it too, also where head_dim is given
        raise config.refused("hidden_size", f"num_attention_heads {heads} must divide it")
    config.need("sliding_window", None)
    config.need("rope_interleaved", False)
    config.harmless("is_llama_config")
    return llama_like.model_of(config, "llama", bias=bias, qkv_bias=bias)


FAMILY = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    is_marked=lambda args: True,
    arguments=llama_like.ARGUMENTS,
    config_of=lambda model: {**llama_like.config_of(model), "attention_bias": model.bias, "mlp_bias": model.bias},
    defaults={**llama_like.DEFAULTS, "sliding_window": None, "rope_interleaved": False},
    model_of=_model_of,
)
