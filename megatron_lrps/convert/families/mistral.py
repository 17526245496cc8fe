"""Mistral: a Llama whose tokens attend to a window."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    llama_like.no_biases(config)
    return llama_like.model_of(config, "mistral", window=config.optional_count("sliding_window"))


FAMILY = Family(
    name="mistral",
    models="Mistral 7B",
    made_by="a Llama with `--window-size`",
    architecture="MistralForCausalLM",
    is_marked=lambda args: args.get("window_size") is not None,
    arguments={**llama_like.ARGUMENTS, "add_bias_linear": False, "window_attn_skip_freq": False},
    config_of=lambda model: {**llama_like.config_of(model), "sliding_window": model.window},
    defaults={**llama_like.DEFAULTS, **llama_like.LIKE_MISTRAL, "sliding_window": 4096},
    model_of=_model_of,
)
