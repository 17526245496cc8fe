"""A model from Megatron's arguments, and Megatron's arguments for a model.

Arguments that change the computation and have no counterpart in a Hugging Face family are refused by name.
"""

from collections.abc import Collection, Mapping
from operator import not_
from typing import Any

from megatron_lrps.convert.architecture import Latent, Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.family import Family
from megatron_lrps.convert.forward_arguments import OTHER_WAYS, refuse_other_forward, refused_argument
from megatron_lrps.convert.huggingface_config import config_of, model_of_config
from megatron_lrps.convert.hybrid_arguments import args_of_pattern, mamba_of, pattern_of_args, with_one_pattern
from megatron_lrps.convert.rope_arguments import rope_args_of, rope_of_args
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.hybrid_pattern import MLP

_LATENT = {
    "q_lora_rank": "queries",
    "kv_lora_rank": "keys",
    "qk_head_dim": "plain",
    "qk_pos_emb_head_dim": "turned",
    "v_head_dim": "value",
}
"""Megatron's arguments of multi-latent attention, and the attributes of ``Latent``."""
_OF_FEW = {"multi_latent_attention": False, "hybrid_layer_pattern": False, "squared_relu": False}
"""Arguments that are off unless a family says otherwise."""


def model_of_args(
    args: Mapping[str, Any], vocab: int, *, allow: Collection[str] = (), family: str | None = None
) -> Model:
    """Return the model that a checkpoint's arguments describe.

    Args:
        args: Megatron's arguments, by destination.
        vocab: The number of tokens of the tokenizer.
        allow: As in ``refuse_other_forward``.
        family: The name of the family; by default the one that fits best.

    Raises:
        RefusedError: naming the argument that no model of the Hugging Face families here has.
    """
    args = with_one_pattern(args)
    pattern = pattern_of_args(args)
    chosen = _family_of(args, family)
    refuse_other_forward(args, allow=allow)
    experts = args.get("num_experts") or 0
    if not experts and args.get("moe_layer_freq", 1) != 1:
        raise refused_argument("moe_layer_freq", args["moe_layer_freq"])
    heads = args["num_attention_heads"]
    groups = args["num_query_groups"] if args.get("group_query_attention") else heads
    if args.get("softmax_type") not in (None, "vanilla", "learnable"):
        raise refused_argument("softmax_type", args["softmax_type"])
    window = args.get("window_size")
    if window is not None and tuple(window)[1] != 0:
        raise refused_argument("window_size", window)
    for name, wanted in {**_OF_FEW, **chosen.arguments}.items():
        found = args.get(name)
        other_frequencies = (name, wanted, found) == ("position_embedding_type", "rope", "yarn")
        if other_frequencies and not args.get("multi_latent_attention"):
            continue  # ``rope_of_args`` reads them
        if (bool(found) if isinstance(wanted, bool) else found) != wanted:
            raise refused_argument(name, found)
    model = Model(
        family=chosen.name,
        layers=args["num_layers"],
        hidden=args["hidden_size"],
        ffn=(args.get("moe_ffn_hidden_size") or args["ffn_hidden_size"]) if experts else args["ffn_hidden_size"],
        heads=heads,
        groups=groups,
        head_dim=_head_dim_of(args),
        vocab=vocab,
        positions=args["max_position_embeddings"],
        epsilon=args.get("layernorm_epsilon", args.get("norm_epsilon", 1e-5)),
        tied=not args.get("untie_embeddings_and_output_weights"),
        qkv_bias=bool(args.get("add_qkv_bias") or args.get("add_bias_linear")),
        bias=bool(args.get("add_bias_linear")),
        qk_norm=bool(args.get("qk_layernorm")),
        latent=_latent_of(args),
        **({} if args.get("position_embedding_type") == "none" else rope_of_args(args)),
        **_window_of(args),
        **_ropeless_of(args),
        **(_experts_of(args) if experts else {}),
        sinks=args.get("softmax_type", "vanilla") != "vanilla",
        glu_clamp=_glu_clamp_of(args),
        ungated=_ungated_of(args),
        pattern=pattern,
        mamba=mamba_of(args),
    )
    if chosen.plain_heads and (groups != heads or model.head_dim * heads != model.hidden):
        raise refused_argument("num_query_groups", groups)
    _refuse_unlike(model)
    return model


def is_of_family(args: Mapping[str, Any], vocab: int) -> bool:
    """Whether ``model_of_args`` returns a model."""
    try:
        model_of_args(args, vocab)
    except (RefusedError, KeyError, TypeError, ValueError):
        return False
    return True


def _family_of(args: Mapping[str, Any], name: str | None) -> Family:
    if name is None:
        return next(each for each in reversed(FAMILIES.values()) if each.is_marked(args))
    if name not in FAMILIES:
        raise RefusedError(f"--family {name} is not known.", f"give one of {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def _refuse_unlike(model: Model) -> None:
    """Refuse a model that its own config.json does not describe, as read back from it."""
    architecture = FAMILIES[model.family].architecture
    try:
        described = model_of_config(config_of(model, dtype="float32", bos=None, eos=None), architecture)
    except RefusedError as error:
        what = f"{architecture} fits the checkpoint's arguments best, but cannot have all of them: {error.what}"
        raise RefusedError(what, OTHER_WAYS) from None
    if described != model:
        args, others = args_of(model), args_of(described)
        name = next((name for name in args if args[name] != others.get(name)), "num_layers")
        raise refused_argument(name, args[name])


def _latent_of(args: Mapping[str, Any]) -> Latent | None:
    """Return the sizes of multi-latent attention, which Megatron builds without norms where no rank is given."""
    if not args.get("multi_latent_attention"):
        return None
    if args.get("q_lora_rank") is None:
        raise refused_argument("q_lora_rank", None)
    return Latent(**{name: args[argument] for argument, name in _LATENT.items()})


def _head_dim_of(args: Mapping[str, Any]) -> int:
    """Return the width of a head's query and key; with multi-latent attention, ``--kv-channels`` changes nothing."""
    if latent := _latent_of(args):
        return latent.plain + latent.turned
    return int(args.get("kv_channels") or args["hidden_size"] // args["num_attention_heads"])


def _ungated_of(args: Mapping[str, Any]) -> str:
    """Return the activation of an MLP without a gate, or nothing."""
    if args.get("swiglu") or args.get("quick_geglu"):
        return ""
    if args.get("squared_relu"):
        return "relu2"
    return "gelu_new" if args.get("bias_gelu_fusion") else "gelu"


def _groups_of(args: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the groups of experts; they change nothing where a token chooses no groups, or all of them."""
    groups, chosen = args.get("moe_router_num_groups"), args.get("moe_router_group_topk")
    return (groups, chosen) if groups and chosen and chosen != groups else None


def _experts_of(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the experts as attributes of ``Model``; ``get_gpt_decoder_layer_specs`` says which layers have them."""
    score, every = args.get("moe_router_score_function", "softmax"), args.get("moe_layer_freq", 1)
    if score not in ("softmax", "sigmoid"):
        raise refused_argument("moe_router_score_function", score)
    biased = bool(args.get("moe_router_enable_expert_bias"))
    if biased != (score == "sigmoid"):
        raise refused_argument("moe_router_enable_expert_bias", biased)
    pattern = pattern_of_args(args)
    dense = None if pattern else _dense_of(every, args["num_layers"])
    if dense is not None and len(dense) != args["num_layers"]:
        raise refused_argument("moe_layer_freq", every)
    return {
        "experts": args["num_experts"],
        "top_k": args.get("moe_router_topk", 2),
        "renormalise": biased or not args.get("moe_router_pre_softmax"),
        "shared_ffn": args.get("moe_shared_expert_intermediate_size") or 0,
        "dense": dense,
        "dense_ffn": args["ffn_hidden_size"] if dense or MLP in pattern else 0,
        "sigmoid": biased,
        "routed_scale": float(args.get("moe_router_topk_scaling_factor") or 1),
        "expert_groups": _groups_of(args),
    }


def _glu_clamp_of(args: Mapping[str, Any]) -> float | None:
    """Return the clamp of gpt-oss's MLP, the only one for which Megatron's other numbers may differ from SwiGLU's."""
    quick, clamp, offset = (
        args.get("quick_geglu"),
        args.get("activation_func_clamp_value"),
        args.get("glu_linear_offset"),
    )
    if quick and clamp is None:
        raise refused_argument("quick_geglu", quick)
    if not quick and clamp is not None:
        raise refused_argument("activation_func_clamp_value", clamp)
    if (offset or 0.0) != (1.0 if quick else 0.0):
        raise refused_argument("glu_linear_offset", offset)
    return None if clamp is None else float(clamp)


def _dense_of(every: Any, layers: int) -> tuple[bool, ...] | None:
    """Return for each layer whether it has no experts; of a number N, each Nth layer has, from the first one on."""
    if every == 1:
        return None
    return tuple(layer % every != 0 for layer in range(layers)) if isinstance(every, int) else tuple(map(not_, every))


def _window_of(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the window and its layers as attributes of ``Model``; ``is_layer_window_attention`` is Megatron's own."""
    window, windowed = args.get("window_size"), _by_layer(args, "window_attn_skip_freq", every=False)
    if window is None or (windowed and not any(windowed)):
        return {}
    return {"window": window[0] + 1, "windowed": windowed if windowed and not all(windowed) else None}


def _ropeless_of(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layers without a rotary embedding as an attribute of ``Model``."""
    ropeless = _by_layer(args, "no_rope_freq", every=True)
    return {"ropeless": ropeless if ropeless and any(ropeless) else None}


def _by_layer(args: Mapping[str, Any], name: str, *, every: bool) -> tuple[bool, ...] | None:
    """Return an argument's value for each layer; of a number N, that of every Nth layer is ``every``."""
    value, layers = args.get(name), args["num_layers"]
    if not value:
        return None
    if isinstance(value, list | tuple):
        found = tuple(map(bool, value))
    else:
        found = tuple((layer % value == 0) == every for layer in range(1, layers + 1))
    if len(found) != layers:
        raise refused_argument(name, value)
    return found


def args_of(model: Model) -> dict[str, Any]:
    """Return Megatron's arguments for a model, by destination: only those that decide what the model is."""
    family = FAMILIES[model.family]
    layer = family.arguments
    args: dict[str, Any] = {
        "num_layers": model.layers,
        "hidden_size": model.hidden,
        "ffn_hidden_size": model.dense_ffn or model.ffn,
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
        "quick_geglu": model.glu_clamp is not None,
        "glu_linear_offset": 0.0 if model.glu_clamp is None else 1.0,
        "activation_func_clamp_value": model.glu_clamp,
        "softmax_type": "learnable" if model.sinks else "vanilla",
        "position_embedding_type": layer["position_embedding_type"],
        **rope_args_of(model),
        "window_size": (model.window - 1, 0) if model.window else None,
        "window_attn_skip_freq": list(map(int, model.windowed)) if model.windowed else None,
        "no_rope_freq": list(map(int, model.ropeless)) if model.ropeless else None,
        "num_experts": model.experts or None,
        "multi_latent_attention": model.latent is not None,
        "squared_relu": model.ungated == "relu2",
        **args_of_pattern(model),
    }
    if model.latent:
        args |= {argument: getattr(model.latent, name) for argument, name in _LATENT.items()}
    if model.ungated:
        args["bias_gelu_fusion"] = model.ungated == "gelu_new"
    if model.experts:
        args |= {
            "moe_ffn_hidden_size": model.ffn,
            "moe_router_topk": model.top_k,
            "moe_router_pre_softmax": not model.renormalise,
            "moe_shared_expert_intermediate_size": model.shared_ffn or None,
            "moe_shared_expert_gate": model.shared_ffn > 0 and bool(family.names.shared_expert_gate),
            "moe_layer_freq": [int(not each) for each in model.dense] if model.dense else 1,
            "moe_router_score_function": "sigmoid" if model.sigmoid else "softmax",
            "moe_router_enable_expert_bias": model.sigmoid,
            "moe_router_topk_scaling_factor": model.routed_scale if model.routed_scale != 1 else None,
            "moe_router_num_groups": model.expert_groups[0] if model.expert_groups else None,
            "moe_router_group_topk": model.expert_groups[1] if model.expert_groups else None,
        }
    return args
