"""What a model is, between Megatron's arguments and a Hugging Face config.json.

Everything that changes the model's function and has no counterpart on the other side is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from megatron_lrps.errors import RefusedError

Family = Literal["llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "gpt2"]

LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What Megatron's ``--use-rope-scaling`` fixes (rotary_pos_embedding.py)."""

ROPE_FACTOR = 8.0
"""megatron-core 0.19 builds its models with this factor: ``gpt_config_from_args`` drops ``--rope-scaling-factor``."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A decoder-only model.

    Attributes:
        family: transformers' model_type.
        layers: Of the decoder.
        hidden: Width.
        ffn: Width of the MLP, or of an expert.
        heads: Attention heads.
        groups: Key and value heads.
        head_dim: Of one head.
        vocab: Tokens of the tokenizer, without Megatron's padding.
        positions: Longest sequence.
        epsilon: Of the norms.
        tied: The output layer is the word embedding.
        qkv_bias: Biases in the query, key and value projections.
        bias: Biases in all linear layers.
        qk_norm: Norms of queries and keys.
        rope_base: Base of the rotary embedding.
        rope_factor: Llama 3's frequency scaling, or None.
        window: Tokens that one attends to, itself included, or None.
        experts: How many; 0 for a dense model.
        top_k: Experts a token goes to.
        renormalise: The weights of those sum to 1.
        shared_ffn: Width of the expert that all tokens go to, behind a gate; 0 where there is none.
        gelu: GPT-2's activation in transformers' words: ``gelu`` or ``gelu_new``.
    """

    family: Family
    layers: int
    hidden: int
    ffn: int
    heads: int
    groups: int
    head_dim: int
    vocab: int
    positions: int
    epsilon: float
    tied: bool
    qkv_bias: bool = False
    bias: bool = False
    qk_norm: bool = False
    rope_base: float = 10000.0
    rope_factor: float | None = None
    window: int | None = None
    experts: int = 0
    top_k: int = 0
    renormalise: bool = True
    shared_ffn: int = 0
    gelu: str = ""


_MUST_BE: dict[str, tuple[Any, ...]] = {
    "activation_func_clamp_value": (None,),
    "apply_query_key_layer_scaling": (False,),
    "apply_residual_connection_post_layernorm": (False,),
    "attention_output_gate": (False,),
    "experimental_attention_variant": (None,),
    "glu_linear_offset": (0, 0.0),
    "heterogeneous_layers_config_encoded_json": (None,),
    "heterogeneous_layers_config_path": (None,),
    "hybrid_layer_pattern": (None,),
    "hybrid_override_pattern": (None,),
    "is_hybrid_model": (False,),
    "layernorm_zero_centered_gamma": (False,),
    "linear_attention_freq": (None,),
    "moe_apply_probs_on_input": (False,),
    "moe_expert_capacity_factor": (None,),
    "moe_latent_size": (None,),
    "moe_layer_freq": (1,),
    "moe_mlp_glu_interleave_size": (None,),
    "moe_router_enable_expert_bias": (False,),
    "moe_router_group_topk": (None,),
    "moe_router_num_groups": (None,),
    "moe_router_score_function": ("softmax",),
    "moe_router_topk_scaling_factor": (None, 1.0),
    "moe_shared_expert_glu_interleave_size": (None,),
    "mrope_section": (None,),
    "mtp_num_layers": (None, 0),
    "multi_latent_attention": (False,),
    "mup_embedding_mult": (1, 1.0),
    "no_rope_freq": (None,),
    "qk_l2_norm": (False,),
    "quick_geglu": (False,),
    "rotary_interleaved": (False,),
    "rotary_percent": (1, 1.0),
    "rotary_scaling_factor": (1, 1.0),
    "rotary_seq_len_interpolation_factor": (None, 1),
    "softmax_scale": (None,),
    "softmax_type": ("vanilla",),
    "squared_relu": (False,),
    "use_mup": (False,),
    "window_attn_skip_freq": (None,),
}
"""Argument -> the values under which a model can be exported; a checkpoint that lacks it has the usual one."""

_TAKES_BIAS = ("llama", "gpt2")


def model_of_args(args: Mapping[str, Any], vocab: int) -> Model:
    """The model that a checkpoint's arguments describe.

    Args:
        args: Megatron's, by destination.
        vocab: Tokens of the tokenizer.

    Raises:
        RefusedError: naming the argument that no Hugging Face model of the families here has.
    """
    for name, allowed in _MUST_BE.items():
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
    family = _family(args, experts, window is not None)
    model = Model(
        family=family,
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
        gelu=("gelu_new" if args.get("bias_gelu_fusion") else "gelu") if family == "gpt2" else "",
    )
    if model.rope_factor and (factor := args.get("rope_scaling_factor", ROPE_FACTOR)) != ROPE_FACTOR:
        raise RefusedError(
            f"--rope-scaling-factor {factor} of this checkpoint was not used by megatron-core 0.19, whose own entry "
            f"trains with {ROPE_FACTOR:g}; another script may have used it.",
            f"where it was trained with {ROPE_FACTOR:g}, save it once with --rope-scaling-factor {ROPE_FACTOR:g}.",
        )
    if model.bias and family not in _TAKES_BIAS:
        raise _refused("add_bias_linear", True)
    if family == "gpt2" and (groups != heads or model.head_dim * heads != model.hidden):
        raise _refused("num_query_groups", groups)
    return model


def _family(args: Mapping[str, Any], experts: int, windowed: bool) -> Family:
    position, norm = args.get("position_embedding_type"), args.get("normalization")
    swiglu, qk_norm = bool(args.get("swiglu")), bool(args.get("qk_layernorm"))
    qkv_bias = bool(args.get("add_qkv_bias"))
    if position == "learned_absolute" and norm == "LayerNorm" and not swiglu and not experts:
        for name, value, wanted in (
            ("add_bias_linear", args.get("add_bias_linear"), True),
            ("qk_layernorm", qk_norm, False),
            ("window_size", windowed, False),
            ("use_te_activation_func", args.get("use_te_activation_func"), False),
        ):
            if bool(value) != wanted:
                raise _refused(name, args.get(name))
        return "gpt2"
    for name, value, wanted_value in (
        ("position_embedding_type", position, "rope"),
        ("normalization", norm, "RMSNorm"),
        ("swiglu", swiglu, True),
    ):
        if value != wanted_value:
            raise _refused(name, value)
    if experts:
        shared, gated = args.get("moe_shared_expert_intermediate_size"), bool(args.get("moe_shared_expert_gate"))
        if shared or gated or qkv_bias:
            return _qwen2_moe(args, shared=bool(shared), windowed=windowed)
        if windowed:
            raise _refused("window_size", args.get("window_size"))
        # Mixtral's router always renormalises.
        return "qwen3_moe" if qk_norm else "mixtral" if not args.get("moe_router_pre_softmax") else _no_mixtral()
    if qk_norm:
        if qkv_bias or windowed:
            raise _refused("add_qkv_bias" if qkv_bias else "window_size", args.get("window_size") or True)
        return "qwen3"
    if qkv_bias and not args.get("add_bias_linear"):
        if windowed:
            raise _refused("window_size", args.get("window_size"))
        return "qwen2"
    return "mistral" if windowed else "llama"


def _qwen2_moe(args: Mapping[str, Any], *, shared: bool, windowed: bool) -> Family:
    """Experts beside one that all tokens go to, behind a gate, and biases in the query, key and value projections."""
    for name, found, wanted in (
        ("moe_shared_expert_intermediate_size", shared, True),
        ("moe_shared_expert_gate", args.get("moe_shared_expert_gate"), True),
        ("add_qkv_bias", args.get("add_qkv_bias"), True),
        ("add_bias_linear", args.get("add_bias_linear"), False),
        ("qk_layernorm", args.get("qk_layernorm"), False),
        ("window_size", windowed, False),
    ):
        if bool(found) != wanted:
            raise _refused(name, args.get(name))
    return "qwen2_moe"


def _no_mixtral() -> Family:
    raise _refused("moe_router_pre_softmax", True)


def _refused(name: str, value: Any) -> RefusedError:
    return RefusedError(
        f"--{name.replace('_', '-')} {value} of this checkpoint cannot be said in the Hugging Face model that fits its "
        "other arguments best.",
        f"such a model cannot be exported; the families are {', '.join(get_args(Family))}.",
    )


def megatron_flags(model: Model) -> dict[str, Any]:
    """Megatron's arguments of a model, by destination; those that say what the model is, and no other."""
    gpt2 = model.family == "gpt2"
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
        "normalization": "LayerNorm" if gpt2 else "RMSNorm",
        "swiglu": not gpt2,
        "position_embedding_type": "learned_absolute" if gpt2 else "rope",
        "rotary_base": int(model.rope_base),
        "use_rope_scaling": model.rope_factor is not None,
        "rope_scaling_factor": ROPE_FACTOR,
        "window_size": (model.window - 1, 0) if model.window else None,
        "num_experts": model.experts or None,
    }
    if gpt2:
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
