"""Qwen3-MoE: a Qwen3 with experts."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like, qwen_experts
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    llama_like.no_biases(config)
    return qwen_experts.model_of(config, "qwen3_moe", qk_norm=True)


FAMILY = Family(
    name="qwen3_moe",
    models="Qwen3-MoE",
    made_by=(
        "a `qwen3` with experts, renormalised or not (`--moe-router-pre-softmax`), in all layers or in some "
        "(`--moe-layer-freq`)"
    ),
    architecture="Qwen3MoeForCausalLM",
    is_marked=lambda args: llama_like.has_experts(args) and bool(args.get("qk_layernorm")),
    arguments={**llama_like.ARGUMENTS, "window_size": False, "add_bias_linear": False},
    config_of=qwen_experts.config_of,
    defaults={
        **qwen_experts.DEFAULTS,
        "intermediate_size": 6144,
        "num_key_value_heads": 4,
        "moe_intermediate_size": 768,
        "num_experts": 128,
        "num_experts_per_tok": 8,
    },
    model_of=_model_of,
)
