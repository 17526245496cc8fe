"""Qwen2: a Llama with biases in the query, key and value projections."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    config.need("mlp_bias", False)
    llama_like.no_window(config)
    return llama_like.model_of(config, "qwen2", qkv_bias=True)


FAMILY = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    is_marked=lambda args: bool(args.get("add_qkv_bias")) and not args.get("add_bias_linear"),
    arguments={**llama_like.ARGUMENTS, "window_size": False},
    config_of=lambda model: {**llama_like.config_of(model), "use_sliding_window": False},
    defaults={**llama_like.DEFAULTS, **llama_like.LIKE_QWEN},
    model_of=_model_of,
)
