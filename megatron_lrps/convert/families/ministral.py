"""Ministral: a Mistral with its window in some layers."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import layer_kinds, llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    llama_like.no_biases(config)
    config.count("num_key_value_heads")
    window = config.optional_count("sliding_window")
    found = layer_kinds.layer_types_of(config, window)
    return llama_like.model_of(config, "ministral", **({"window": window} if found is None else found))


FAMILY = Family(
    name="ministral",
    models="Ministral 8B",
    made_by="a Mistral with `--window-attn-skip-freq`",
    architecture="MinistralForCausalLM",
    is_marked=lambda args: args.get("window_size") is not None and bool(args.get("window_attn_skip_freq")),
    arguments={**llama_like.ARGUMENTS, "add_bias_linear": False},
    config_of=lambda model: {**llama_like.config_of(model), **layer_kinds.window_keys_of(model)},
    defaults={**llama_like.DEFAULTS, **llama_like.LIKE_MISTRAL, "sliding_window": 4096, "layer_types": None},
    model_of=_model_of,
)
