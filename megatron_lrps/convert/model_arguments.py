"""A model from Megatron's arguments, and Megatron's arguments for a model.

Arguments that change the computation and have no counterpart in a Hugging Face family are refused by name.
"""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import ROPE_FACTOR, Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.errors import RefusedError

_OFF = (
    *("apply_query_key_layer_scaling", "apply_residual_connection_post_layernorm", "attention_output_gate"),
    *("is_hybrid_model", "layernorm_zero_centered_gamma", "moe_apply_probs_on_input", "moe_router_enable_expert_bias"),
    *("multi_latent_attention", "qk_l2_norm", "quick_geglu", "rotary_interleaved", "squared_relu", "use_mup"),
)
_NOT_GIVEN = (
    *("activation_func_clamp_value", "experimental_attention_variant", "heterogeneous_layers_config_encoded_json"),
    *("heterogeneous_layers_config_path", "hybrid_layer_pattern", "hybrid_override_pattern", "linear_attention_freq"),
    *("moe_expert_capacity_factor", "moe_latent_size", "moe_mlp_glu_interleave_size", "moe_router_group_topk"),
    *("moe_router_num_groups", "moe_shared_expert_glu_interleave_size", "mrope_section", "no_rope_freq"),
    *("softmax_scale", "window_attn_skip_freq"),
)
_MUST_BE: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(_OFF, (False,)),
    **dict.fromkeys(_NOT_GIVEN, (None,)),
    "glu_linear_offset": (0, 0.0),
    "moe_layer_freq": (1,),
    "moe_router_score_function": ("softmax",),
    "moe_router_topk_scaling_factor": (None, 1.0),
    "mtp_num_layers": (None, 0),
    "mup_embedding_mult": (1, 1.0),
    "rotary_percent": (1, 1.0),
    "rotary_scaling_factor": (1, 1.0),
    "rotary_seq_len_interpolation_factor": (None, 1),
    "softmax_type": ("vanilla",),
}
"""Argument -> the values with which a model can be exported. A checkpoint without the argument has the first one."""


def model_of_args(args: Mapping[str, Any], vocab: int) -> Model:
    """Return the model that a checkpoint's arguments describe.

    Args:
        args: Megatron's arguments, by destination.
        vocab: The number of tokens of the tokenizer.

    Raises:
        RefusedError: naming the argument that no model of the Hugging Face families here has.
    """
    for name, allowed in sorted(_MUST_BE.items()):
        value = args.get(name, allowed[0])
        value = None if value in ([], ()) else value
        if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in allowed):
            raise _refused(name, value)
    experts = args.get("num_experts") or 0
    heads = args["num_attention_heads"]
    groups = args["num_query_groups"] if args.get("group_query_attention") else heads
    window = args.get("window_size")
    if window is not None and tuple(window)[1] != 0:
        raise _refused("window_size", window)
    family = next(each for each in reversed(FAMILIES.values()) if each.is_marked(args))
    for name, wanted in family.arguments.items():
        found = args.get(name)
        if (bool(found) if isinstance(wanted, bool) else found) != wanted:
            raise _refused(name, found)
    model = Model(
        family=family.name,
        layers=args["num_layers"],
        hidden=args["hidden_size"],
        ffn=(args.get("moe_ffn_hidden_size") or args["ffn_hidden_size"]) if experts else args["ffn_hidden_size"],
        heads=heads,
        groups=groups,
        head_dim=args.get("kv_channels") or args["hidden_size"] // heads,
        vocab=vocab,
        positions=args["max_position_embeddings"],
        epsilon=args.get("layernorm_epsilon", args.get("norm_epsilon", 1e-5)),
        tied=not args.get("untie_embeddings_and_output_weights"),
        qkv_bias=bool(args.get("add_qkv_bias") or args.get("add_bias_linear")),
        bias=bool(args.get("add_bias_linear")),
        qk_norm=bool(args.get("qk_layernorm")),
        rope_base=float(args.get("rotary_base", 10000)),
        rope_factor=ROPE_FACTOR if args.get("use_rope_scaling") else None,
        window=window[0] + 1 if window is not None else None,
        experts=experts,
        top_k=args.get("moe_router_topk", 2) if experts else 0,
        renormalise=not args.get("moe_router_pre_softmax"),
        shared_ffn=(args.get("moe_shared_expert_intermediate_size") or 0) if experts else 0,
        gelu="" if args.get("swiglu") else "gelu_new" if args.get("bias_gelu_fusion") else "gelu",
    )
    if model.rope_factor and (factor := args.get("rope_scaling_factor", ROPE_FACTOR)) != ROPE_FACTOR:
        raise RefusedError(
            f"The checkpoint says --rope-scaling-factor {factor}, but megatron-core 0.19 ignores it and trains with "
            f"{ROPE_FACTOR:g}; only another script can have used it.",
            f"if it was trained with {ROPE_FACTOR:g}, save it once with --rope-scaling-factor {ROPE_FACTOR:g}.",
        )
    if family.plain_heads and (groups != heads or model.head_dim * heads != model.hidden):
        raise _refused("num_query_groups", groups)
    return model


def _refused(name: str, value: Any) -> RefusedError:
    return RefusedError(
        f"The checkpoint was trained with --{name.replace('_', '-')} {value}, but the Hugging Face model that fits its "
        "other arguments best has no such thing.",
        f"export it as torch_dist or torch; the Hugging Face families are {', '.join(FAMILIES)}.",
    )


def args_of(model: Model) -> dict[str, Any]:
    """Return Megatron's arguments for a model, by destination: only those that decide what the model is."""
    layer = FAMILIES[model.family].arguments
    args: dict[str, Any] = {
        "num_layers": model.layers,
        "hidden_size": model.hidden,
        "ffn_hidden_size": model.ffn,
        "num_attention_heads": model.heads,
        "group_query_attention": model.groups != model.heads,
        "num_query_groups": model.groups,
        "kv_channels": model.head_dim,
        "max_position_embeddings": model.positions,
        "layernorm_epsilon": model.epsilon,
        "untie_embeddings_and_output_weights": not model.tied,
        "add_bias_linear": model.bias,
        "add_qkv_bias": model.qkv_bias and not model.bias,
        "qk_layernorm": model.qk_norm,
        "normalization": layer["normalization"],
        "swiglu": layer["swiglu"],
        "position_embedding_type": layer["position_embedding_type"],
        "rotary_base": int(model.rope_base),
        "use_rope_scaling": model.rope_factor is not None,
        "rope_scaling_factor": ROPE_FACTOR,
        "window_size": (model.window - 1, 0) if model.window else None,
        "num_experts": model.experts or None,
    }
    if model.gelu:
        args["bias_gelu_fusion"] = model.gelu == "gelu_new"
    if model.experts:
        args |= {
            "moe_ffn_hidden_size": model.ffn,
            "moe_router_topk": model.top_k,
            "moe_router_pre_softmax": not model.renormalise,
            "moe_shared_expert_intermediate_size": model.shared_ffn or None,
            "moe_shared_expert_gate": model.shared_ffn > 0,
        }
    return args
