"""gpt-oss: experts with biases and a clamped quick GELU, heads with sinks, windows in every other layer, YaRN."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import layer_kinds, llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.experts import experts_of
from megatron_lrps.convert.families.family import Family, WeightNames

_ALPHA = 1.702
"""The factor in Megatron's quick GELU (fused_bias_geglu.py)."""
_YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
"""The RoPE parameters of a config.json without any."""


def _model_of(config: ConfigKeys) -> Model:
    config.need("attention_bias", True)
    config.need("swiglu_alpha", _ALPHA)
    packed = config.value("quantization_config")
    if packed is not None and (not isinstance(packed, dict) or packed.get("quant_method") != "mxfp4"):
        raise config.refused("quantization_config", "null or one of mxfp4 can")
    experts, top_k = experts_of(config, "num_local_experts", "num_experts")
    if "experts_per_token" in config and config.value("experts_per_token") != top_k:
        raise config.refused("experts_per_token", f"num_experts_per_tok is {top_k}")
    if top_k == 1:
        raise config.refused("num_experts_per_tok", "Megatron cannot renormalise the weight of one expert")
    config.harmless("initial_context_length")  # the publisher's name of what is in the RoPE parameters
    config.count("num_key_value_heads")
    if not config.value("rope_scaling") and not config.value("rope_parameters"):
        config.put("rope_parameters", _YARN)
    window = config.optional_count("sliding_window")
    found = layer_kinds.layer_types_of(config, window)
    if found is None:
        window = config.count("sliding_window")
        found = layer_kinds.windows(window, [layer % 2 == 0 for layer in range(layer_kinds.layers_of(config))])
    clamp = config.number("swiglu_limit")
    own = {"bias": True, "qkv_bias": True, "experts": experts, "top_k": top_k, "sinks": True, "glu_clamp": clamp}
    return llama_like.model_of(config, "gpt_oss", kinds=("default", "linear", "yarn"), **own, **found)


def _config_of(model: Model) -> dict[str, Any]:
    return {
        "rope_scaling": {"rope_type": "default"},
        **llama_like.config_of(model),
        **layer_kinds.window_keys_of(model),
        "attention_bias": True,
        "swiglu_limit": model.glu_clamp,
        "num_local_experts": model.experts,
        "num_experts_per_tok": model.top_k,
    }


FAMILY = Family(
    name="gpt_oss",
    models="gpt-oss (MXFP4 is read, bf16 is written)",
    made_by=(
        "experts with biases, `--quick-geglu --glu-linear-offset 1 --activation-func-clamp-value`, "
        "`--softmax-type learnable`, windows in all layers or in some, YaRN"
    ),
    architecture="GptOssForCausalLM",
    is_marked=lambda args: llama_like.has_experts(args) and args.get("softmax_type") == "learnable",
    arguments={
        **llama_like.ARGUMENTS,
        "swiglu": False,
        "quick_geglu": True,
        "softmax_type": "learnable",
        "add_bias_linear": True,
        "moe_router_pre_softmax": False,
        "moe_shared_expert_intermediate_size": False,
    },
    config_of=_config_of,
    defaults={
        **llama_like.DEFAULTS,
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 36,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 150000.0,
        "attention_bias": True,
        "sliding_window": 128,
        "layer_types": None,
        "swiglu_alpha": _ALPHA,
        "swiglu_limit": 7.0,
        "num_local_experts": 128,
        "num_experts": 128,
        "num_experts_per_tok": 4,
        "experts_per_token": 4,
        "quantization_config": None,
    },
    model_of=_model_of,
    names=WeightNames(
        router="mlp.router.weight",
        router_bias="mlp.router.bias",
        expert=("gate_up_proj", "down_proj"),
        stacked=True,
        sinks="self_attn.sinks",
    ),
)
