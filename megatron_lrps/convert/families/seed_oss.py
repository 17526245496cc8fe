"""Seed-OSS: a Qwen2 whose heads are as wide as it says, with queries, keys and values that may have no bias."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family

_BIASES = ("attention_bias", "attention_out_bias", "mlp_bias")


def _model_of(config: ConfigKeys) -> Model:
    biases = [config.switch(key) for key in _BIASES]
    for key, bias in zip(_BIASES[1:], biases[1:], strict=True):
        if bias and not all(biases):
            raise config.refused(
                key, "Megatron has biases in all layers, in queries, keys and values alone, or in none"
            )
    config.harmless("residual_dropout")
    return llama_like.model_of(config, "seed_oss", qkv_bias=biases[0], bias=biases[1])


def _config_of(model: Model) -> dict[str, Any]:
    biases = (model.qkv_bias, model.bias, model.bias)
    return {**llama_like.config_of(model), **dict(zip(_BIASES, biases, strict=True))}


FAMILY = Family(
    name="seed_oss",
    models="Seed-OSS",
    made_by="those of a `qwen2` without windows, or of a Llama, which it is exported as without `--family seed_oss`",
    architecture="SeedOssForCausalLM",
    is_marked=lambda args: False,
    arguments=llama_like.ARGUMENTS,
    config_of=_config_of,
    defaults={
        **llama_like.DEFAULTS,
        "vocab_size": 155136,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 80,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 524288,
        "attention_bias": True,
        "attention_out_bias": False,
    },
    model_of=_model_of,
)
