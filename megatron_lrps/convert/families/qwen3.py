"""Qwen3: a Llama with norms of queries and keys."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like, qwen_windows
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    llama_like.no_biases(config)
    return llama_like.model_of(config, "qwen3", **qwen_windows.windows_of(config), qk_norm=True)


FAMILY = Family(
    name="qwen3",
    models="Qwen3",
    made_by="a Llama with `--qk-layernorm`; windows as in `qwen2`",
    architecture="Qwen3ForCausalLM",
    is_marked=lambda args: bool(args.get("qk_layernorm")),
    arguments={**llama_like.ARGUMENTS, "add_qkv_bias": False, "add_bias_linear": False},
    config_of=lambda model: {**llama_like.config_of(model), **qwen_windows.window_keys_of(model)},
    defaults={**llama_like.DEFAULTS, **llama_like.LIKE_QWEN, "head_dim": 128},
    model_of=_model_of,
)
