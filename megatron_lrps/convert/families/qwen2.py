"""Qwen2: a Llama with biases in the query, key and value projections."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like, qwen_windows
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    config.need("mlp_bias", False)
    return llama_like.model_of(config, "qwen2", **qwen_windows.windows_of(config), qkv_bias=True)


FAMILY = Family(
    name="qwen2",
    models="Qwen 1.5 to 2.5",
    made_by="a Llama with `--add-qkv-bias`; windows in all layers or in some (`--window-attn-skip-freq`)",
    architecture="Qwen2ForCausalLM",
    is_marked=lambda args: bool(args.get("add_qkv_bias")) and not args.get("add_bias_linear"),
    arguments={**llama_like.ARGUMENTS},
    config_of=lambda model: {**llama_like.config_of(model), **qwen_windows.window_keys_of(model)},
    defaults={**llama_like.DEFAULTS, **llama_like.LIKE_QWEN},
    model_of=_model_of,
)
