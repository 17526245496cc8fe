"""Qwen2-MoE: a Qwen2 with experts, beside one behind a gate that all tokens go to."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like, qwen_experts
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family

_ITS_OWN = ("moe_shared_expert_intermediate_size", "moe_shared_expert_gate", "add_qkv_bias")


def _model_of(config: ConfigKeys) -> Model:
    llama_like.no_biases(config)
    config.need("qkv_bias", True)
    shared = config.count("shared_expert_intermediate_size")
    return qwen_experts.model_of(config, "qwen2_moe", same=False, qkv_bias=True, shared_ffn=shared)


FAMILY = Family(
    name="qwen2_moe",
    models="Qwen2-MoE, Qwen1.5-MoE",
    made_by=(
        "a `qwen2` with experts, beside a shared one with `--moe-shared-expert-gate`, in all layers or in some "
        "(`--moe-layer-freq`)"
    ),
    architecture="Qwen2MoeForCausalLM",
    is_marked=lambda args: llama_like.has_experts(args) and any(args.get(name) for name in _ITS_OWN),
    arguments={
        **llama_like.ARGUMENTS,
        **dict.fromkeys(_ITS_OWN, True),
        "add_bias_linear": False,
        "qk_layernorm": False,
        "window_size": False,
    },
    config_of=lambda model: qwen_experts.config_of(
        model, qkv_bias=True, shared_expert_intermediate_size=model.shared_ffn
    ),
    defaults={
        **qwen_experts.DEFAULTS,
        "intermediate_size": 5632,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "qkv_bias": True,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "num_experts": 60,
        "num_experts_per_tok": 4,
    },
    model_of=_model_of,
)
