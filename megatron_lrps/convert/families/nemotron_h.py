"""Nemotron-H: Megatron's hybrid models of Mamba, attention, MLP and expert layers, without a position embedding."""

import math
from typing import Any

from megatron_lrps.convert.architecture import CONVOLUTION, MAMBA_EPSILON, Mamba, Model
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.experts import experts_of, group_keys_of, groups_of
from megatron_lrps.convert.families.family import Family, WeightNames
from megatron_lrps.plan.hybrid_pattern import ATTENTION, EXPERTS, MAMBA, MLP

_KINDS = {
    **{"linear_attention": MAMBA, "full_attention": ATTENTION, "mlp": MLP, "moe": EXPERTS},
    **{"mamba": MAMBA, "attention": ATTENTION},
}
"""transformers' names of the kinds of layers, the last two of older releases -> Megatron's letter."""
_LISTS, _PATTERN = ("layers_block_type", "layer_types"), "hybrid_override_pattern"
_OWN_CODE = ("configuration_nemotron_h.", "modeling_nemotron_h.")
_INFINITY = (math.inf, {"__float__": "Infinity"})
"""Infinity in a config.json, by NVIDIA and by transformers."""
_LEAST_STEP = 1e-30
"""transformers raises smaller time steps to ``time_step_min``, by which NVIDIA's own code initializes alone.

Megatron has no least one, and this raises none; at 0, transformers takes a logarithm of it.
"""


def _model_of(config: ConfigKeys) -> Model:
    pattern = _pattern_of(config)
    _refuse_other_layers(config, pattern)
    heads, groups = config.count("num_attention_heads"), config.optional_count("num_key_value_heads")
    groups = groups or heads
    if heads % groups:
        raise config.refused("num_key_value_heads", f"it must divide num_attention_heads {heads}", groups)
    dense = config.count("intermediate_size") if MLP in pattern or EXPERTS not in pattern else 0
    return Model(
        family="nemotron_h",
        layers=len(pattern),
        pattern=pattern,
        hidden=config.count("hidden_size"),
        heads=heads,
        groups=groups,
        head_dim=config.count("head_dim"),
        vocab=config.count("vocab_size"),
        positions=config.count("max_position_embeddings"),
        epsilon=config.number("layer_norm_epsilon"),
        tied=False,
        ungated="relu2",
        mamba=_mamba_of(config) if MAMBA in pattern else None,
        **(_experts_of(config, dense) if EXPERTS in pattern else {"ffn": dense}),
    )


def _pattern_of(config: ConfigKeys) -> str:
    """Return a letter for each layer, of the key that transformers reads first; keys that disagree are refused."""
    found: dict[str, str] = {}
    for key in _LISTS:
        if (kinds := config.value(key)) is not None:
            if not isinstance(kinds, list) or not kinds or any(each not in _KINDS for each in map(str, kinds)):
                raise config.refused(key, f"a list of {', '.join(_KINDS)} can")
            found[key] = "".join(_KINDS[each] for each in kinds)
    if (pattern := config.value(_PATTERN)) is not None:
        if not isinstance(pattern, str) or not pattern or {*pattern} - {*_KINDS.values()}:
            raise config.refused(_PATTERN, f"a letter of {' '.join(sorted({*_KINDS.values()}))} for each layer can")
        found[_PATTERN] = pattern
    first = next(iter(found), "")
    for other in found:
        if found[other] != found[first]:
            raise config.refused(other, f"{first} says {found[first]}")
    pattern = found.get(first, "ME*-")  # as transformers has it for a config.json without any of them
    layers = config.value("num_hidden_layers")
    if layers is not None and (type(layers) is not int or layers != len(pattern)):
        raise config.refused("num_hidden_layers", f"the pattern has {len(pattern)} layers")
    return pattern


def _refuse_other_layers(config: ConfigKeys, pattern: str) -> None:
    """Refuse what Megatron's layers do not compute; keys of layers that the pattern lacks change nothing."""
    for key in ("attention_bias", "mlp_bias", "use_bias", "mamba_proj_bias", "residual_in_fp32"):
        config.need(key, False)
    config.need("tie_word_embeddings", False)  # transformers' class has an output layer of its own in any case
    config.need("sliding_window", None)
    config.need("mlp_hidden_act", "relu2")
    # Initialization, dropout of training, how and at what precision it computes, and rotary embeddings that no layer of
    # transformers' class reads.
    config.harmless("rescale_prenorm_residual", "hidden_dropout", "time_step_max", "time_step_floor")
    config.harmless("num_logits_to_keep", "use_mamba_kernels", "mamba_ssm_cache_dtype", "chunk_size", "expand")
    config.harmless("moe_shared_expert_overlap", "rope_theta", "partial_rotary_factor", "intermediate_size")
    config.harmless("mtp_layers_block_type", "mtp_hybrid_override_pattern", "output_router_logits")
    _refuse_other_steps(config)
    config.need("num_nextn_predict_layers", 0)
    for other, usual in (("rms_norm_eps", "layer_norm_epsilon"), ("attention_head_dim", "head_dim")):
        if config.value(other) is not None and config.value(other) != config.value(usual):
            raise config.refused(other, f"{usual} is {config.value(usual)}")
    code = config.value("auto_map")
    if code is not None and not (
        isinstance(code, dict) and all(str(each).startswith(_OWN_CODE) for each in code.values())
    ):
        raise config.refused("auto_map", f"only code of {' and '.join(each[:-1] for each in _OWN_CODE)} can")
    if MAMBA not in pattern:
        config.harmless("mamba_num_heads", "mamba_head_dim", "ssm_state_size", "n_groups", "conv_kernel")
        config.harmless("mamba_hidden_act", "use_conv_bias")
    if EXPERTS not in pattern:
        config.harmless("n_routed_experts", "num_local_experts", "n_shared_experts", "moe_intermediate_size")
        config.harmless("moe_shared_expert_intermediate_size", "moe_latent_size", "num_experts_per_tok")
        config.harmless("routed_scaling_factor", "n_group", "topk_group", "norm_topk_prob")


def _refuse_other_steps(config: ConfigKeys) -> None:
    """Refuse limits of a Mamba layer's time step; transformers computes with the first one, NVIDIA's own code not."""
    least, limits = config.value("time_step_min"), config.value("time_step_limit")
    if type(least) not in (int, float) or not 0 <= least < 1:
        raise config.refused("time_step_min", "a number from 0 to 1 can")
    pair = limits if isinstance(limits, list | tuple) and len(limits) == 2 else (None, None)
    if limits is not None and (pair[0] != 0 or pair[1] not in _INFINITY):
        raise config.refused("time_step_limit", "only [0.0, Infinity] can")


def _mamba_of(config: ConfigKeys) -> Mamba:
    config.need("mamba_hidden_act", "silu")
    config.need("use_conv_bias", True)
    config.need("conv_kernel", CONVOLUTION)
    if config.number("layer_norm_epsilon") != MAMBA_EPSILON:
        raise config.refused("layer_norm_epsilon", f"Megatron's Mamba layers have {MAMBA_EPSILON}")
    heads, groups = config.count("mamba_num_heads"), config.count("n_groups")
    if heads % groups:
        raise config.refused("n_groups", f"it must divide mamba_num_heads {heads}")
    return Mamba(heads=heads, width=config.count("mamba_head_dim"), state=config.count("ssm_state_size"), groups=groups)


def _experts_of(config: ConfigKeys, dense_ffn: int) -> dict[str, Any]:
    """Return the experts as attributes of ``Model``."""
    experts, top_k = experts_of(config, "n_routed_experts", "num_local_experts")
    if top_k == 1:
        raise config.refused("num_experts_per_tok", "Megatron cannot renormalise the weight of one expert")
    config.need("norm_topk_prob", True)
    config.need("n_shared_experts", 1)
    config.need("moe_latent_size", None)
    return {
        "ffn": config.count("moe_intermediate_size"),
        "dense_ffn": dense_ffn,
        "experts": experts,
        "top_k": top_k,
        "shared_ffn": config.count("moe_shared_expert_intermediate_size"),
        "sigmoid": True,
        "routed_scale": config.number("routed_scaling_factor"),
        "expert_groups": groups_of(config, experts, top_k, best=2),
    }


def _config_of(model: Model) -> dict[str, Any]:
    experts: dict[str, Any] = {"n_routed_experts": 0}  # transformers' default is 8, which vLLM counts
    if model.experts:
        experts = {
            "n_routed_experts": model.experts,
            "num_experts_per_tok": model.top_k,
            "n_shared_experts": 1,
            "moe_intermediate_size": model.ffn,
            "moe_shared_expert_intermediate_size": model.shared_ffn,
            "routed_scaling_factor": model.routed_scale,
            "norm_topk_prob": True,
            **group_keys_of(model),
        }
    mamba: dict[str, Any] = {}
    if model.mamba:
        mamba = {
            "mamba_num_heads": model.mamba.heads,
            "mamba_head_dim": model.mamba.width,
            "ssm_state_size": model.mamba.state,
            "n_groups": model.mamba.groups,
            "conv_kernel": CONVOLUTION,
            "use_conv_bias": True,
            "mamba_hidden_act": "silu",
        }
    return {
        "hidden_size": model.hidden,
        "intermediate_size": model.dense_ffn or model.ffn,
        "num_hidden_layers": model.layers,
        _PATTERN: model.pattern,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.groups,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.positions,
        "layer_norm_epsilon": model.epsilon,
        "mlp_hidden_act": "relu2",
        "attention_bias": False,
        "mlp_bias": False,
        "use_bias": False,
        "num_nextn_predict_layers": 0,
        "time_step_min": _LEAST_STEP,
        **mamba,
        **experts,
    }


FAMILY = Family(
    name="nemotron_h",
    models="Nemotron-H, Nemotron Nano 2 and 3",
    made_by=(
        "`--hybrid-layer-pattern` of `M`, `*`, `-` and `E`, `--position-embedding-type none`, RMSNorm, "
        "`--squared-relu`, `--disable-bias-linear`; Mamba layers of `--mamba-num-heads`, `--mamba-head-dim`, "
        "`--mamba-state-dim` and `--mamba-num-groups`; experts as in `glm4_moe`, with a shared one"
    ),
    architecture="NemotronHForCausalLM",
    is_marked=lambda args: bool(args.get("hybrid_layer_pattern")),
    arguments={
        "hybrid_layer_pattern": True,
        "position_embedding_type": "none",
        "normalization": "RMSNorm",
        "swiglu": False,
        "squared_relu": True,
        "add_bias_linear": False,
        "add_qkv_bias": False,
        "qk_layernorm": False,
        "window_size": False,
        "moe_shared_expert_gate": False,
    },
    config_of=_config_of,
    defaults={
        **dict.fromkeys((*_LISTS, _PATTERN, "num_hidden_layers", "auto_map", "rms_norm_eps", "attention_head_dim")),
        "vocab_size": 131072,
        "hidden_size": 4096,
        "intermediate_size": 21504,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 4096,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": False,
        "sliding_window": None,
        "mlp_hidden_act": "relu2",
        "attention_bias": False,
        "mlp_bias": False,
        "use_bias": False,
        "mamba_proj_bias": False,
        "residual_in_fp32": False,
        "mamba_num_heads": 128,
        "mamba_head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": 8,
        "conv_kernel": CONVOLUTION,
        "use_conv_bias": True,
        "mamba_hidden_act": "silu",
        "n_routed_experts": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "moe_intermediate_size": 7688,
        "moe_shared_expert_intermediate_size": 7688,
        "moe_latent_size": None,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
        "num_nextn_predict_layers": 0,
        "time_step_min": 0.001,
        "time_step_limit": (0.0, math.inf),
    },
    model_of=_model_of,
    names=WeightNames(
        layer="backbone.layers",
        embedding="backbone.embeddings.weight",
        norm="backbone.norm_f",
        input_norm="norm",
        mlp_norm="norm",
        qkv=("mixer.q_proj", "mixer.k_proj", "mixer.v_proj"),
        attention_output="mixer.o_proj",
        mlp=("mixer.up_proj", "mixer.down_proj"),
        router="mixer.gate.weight",
        expert_bias="mixer.gate.e_score_correction_bias",
        experts="mixer.experts",
        expert=("up_proj", "down_proj"),
        shared_expert="mixer.shared_experts",
        shared_expert_gate="",
    ),
    only_transformers={"time_step_min": _LEAST_STEP},
)
