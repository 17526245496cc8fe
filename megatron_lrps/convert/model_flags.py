"""A model as the flags under ``megatron:`` in a plan. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from megatron_lrps.convert.architecture import ROPE_FACTOR, Model
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.convert.rope_arguments import MSCALES, YARN
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.cpu_flags import CPU_FLAGS
from megatron_lrps.plan.flags import PRETRAINED
from megatron_lrps.plan.hybrid_pattern import MAMBA, PATTERNS, STAGE, mamba_heads, pattern_of

_OF_MAMBA = ("mamba_num_heads", "mamba_head_dim", "mamba_state_dim", "mamba_num_groups")
_PATTERN = PATTERNS[0]
_DECIDING = (
    *("hybrid_layer_pattern", "num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "kv_channels"),
    *("group_query_attention", "num_query_groups", "norm_epsilon", "normalization", "position_embedding_type"),
    *("rotary_base", "rotary_percent", "rotary_interleaved"),
    *("use_rope_scaling", "rope_scaling_factor", "rotary_seq_len_interpolation_factor", *YARN, *MSCALES),
    *("softmax_type", "quick_geglu", "glu_linear_offset", "activation_func_clamp_value"),
    *("multi_latent_attention", "q_lora_rank", "kv_lora_rank", "qk_head_dim", "qk_pos_emb_head_dim", "v_head_dim"),
    *("rope_type", "swiglu", "squared_relu", *_OF_MAMBA, "disable_bias_linear", "add_qkv_bias", "qk_layernorm"),
    *(
        "untie_embeddings_and_output_weights",
        "window_size",
        "window_attn_skip_freq",
        "no_rope_freq",
        "num_experts",
        "moe_ffn_hidden_size",
        "moe_router_topk",
    ),
    *("moe_layer_freq", "moe_router_score_function", "moe_router_enable_expert_bias"),
    *("moe_router_num_groups", "moe_router_group_topk"),
    *(
        "moe_router_topk_scaling_factor",
        "moe_router_pre_softmax",
        "moe_shared_expert_intermediate_size",
        "moe_shared_expert_gate",
    ),
)
"""The flags that decide what a model is, in the order of a plan's lines."""
_DEFAULTS = {
    "rotary-base": 10000,
    "rotary-percent": 1.0,
    "moe-layer-freq": 1,
    "softmax-type": "vanilla",
    "glu-linear-offset": 0.0,
    "moe-router-score-function": "softmax",
    "norm-epsilon": 1e-5,
    "normalization": "LayerNorm",
    "position-embedding-type": "learned_absolute",
    "rope-scaling-factor": ROPE_FACTOR,
    "rotary-scaling-factor": 1.0,
    **{name.replace("_", "-"): value for name, value in MSCALES.items()},
}
_LATENT = {"kv-lora-rank": 32, "qk-head-dim": 128, "qk-pos-emb-head-dim": 64, "v-head-dim": 128, "rope-type": "yarn"}
"""Megatron's defaults for flags that mean nothing without ``--multi-latent-attention``."""
_MAMBA = {"mamba-head-dim": 64, "mamba-state-dim": 128, "mamba-num-groups": 8}
"""The same, without Mamba layers."""


def flags_of(model: Model) -> dict[str, Any]:
    """Return every flag that decides what the model is; a flag that must not be given is False."""
    args, names = args_of(model), list(_DECIDING)
    args |= {"norm_epsilon": model.epsilon, "disable_bias_linear": not model.bias}
    if not args["group_query_attention"]:
        args["num_query_groups"] = False
    if model.window:
        args["window_size"] = ",".join(map(str, args["window_size"]))
    for name in ("window_attn_skip_freq", "no_rope_freq", "moe_layer_freq"):
        if isinstance(args.get(name), list):
            args[name] = layer_list(args[name])
    if model.ungated in ("gelu", "gelu_new"):
        names.append("no_bias_gelu_fusion")
        args["no_bias_gelu_fusion"] = model.ungated == "gelu"
    if model.yarn and not model.yarn.whole:
        names.append("no_yarn_correction_range_round_to_int")
        args["no_yarn_correction_range_round_to_int"] = True
    if args["position_embedding_type"] == "learned_absolute":
        names.append("max_position_embeddings")
    if model.pattern:
        names.remove("num_layers")  # the pattern says it
    if model.latent and not model.hidden % model.heads:
        names.remove("kv_channels")  # changes nothing
    flags = {name.replace("_", "-"): args.get(name) or False for name in names}
    return {flag: value or _DEFAULTS.get(flag, False) for flag, value in flags.items()}


def layer_list(values: Sequence[int]) -> str:
    """Return one number for each layer as Megatron's flag and YAML take it: as text, which brackets alone are not."""
    return f"([{','.join(map(str, values))}])"


def _unset(flag: str, given: Mapping[str, Any]) -> Any:
    """Return the value that Megatron takes for a flag that is not among ``given``."""
    hidden, heads = given.get("hidden-size", 0), given.get("num-attention-heads", 1)
    match flag:
        case "moe-router-topk":
            return 2 if given.get("num-experts") else False
        case "kv-channels":
            return hidden // heads
        case "ffn-hidden-size":
            return int(4 * hidden * 2 / 3 / 64) * 64 if given.get("swiglu") else 4 * hidden
        case "moe-ffn-hidden-size" if given.get("num-experts"):
            return given.get("ffn-hidden-size", _unset("ffn-hidden-size", given))
        case "mamba-num-heads" if MAMBA in str(given.get(_PATTERN)):
            return mamba_heads(hidden, given.get("mamba-head-dim", _MAMBA["mamba-head-dim"]))
        case _ if flag in _MAMBA and MAMBA in str(given.get(_PATTERN)):
            return _MAMBA[flag]
        case _ if flag in _LATENT and given.get("multi-latent-attention"):
            return _LATENT[flag]
    return _DEFAULTS.get(flag, False)


def plan_lines(model: Model, pretrained: str) -> list[str]:
    """Return the lines to put under ``megatron:`` in a plan."""
    flags = flags_of(model)
    given = {flag: value for flag, value in flags.items() if value != _unset(flag, flags)}
    return lines_of_flags(given, pretrained)


def lines_of_flags(flags: Mapping[str, object], pretrained: str) -> list[str]:
    """Return flags of a model, and the checkpoint to start from, as lines under ``megatron:``."""
    return [f"{flag}: {_yaml(value)}" for flag, value in {**flags, PRETRAINED: pretrained}.items()]


def flags_of_plan(plan: Plan) -> dict[str, Any]:
    """Return flag -> value of a plan's model."""
    given: dict[str, Any] = {"max-position-embeddings": plan.sequence_length, **plan.megatron}
    if plan.launch.device == "cpu":
        given |= CPU_FLAGS  # one of them chooses GPT-2's activation
    return given


def refuse_differing(differing: Sequence[str], lines: Sequence[str]) -> None:
    """Refuse a plan of another model if anything differs; raises RefusedError with the lines that fit."""
    if differing:
        fitting = "\n".join(f"  {line}" for line in lines)
        raise RefusedError(
            f"The plan is of another model: {'; '.join(differing)}.", f"put these under `megatron:`\n{fitting}"
        )


def refuse_other_plan(plan: Plan, model: Model, pretrained: str, name: str) -> None:
    """Refuse a plan whose model is not the one that the weights belong to.

    Raises:
        RefusedError: naming every flag that differs with both values, and the lines that fit.
    """
    given = flags_of_plan(plan)
    if pattern := pattern_of(given):
        given[_PATTERN] = pattern.replace(STAGE, "")  # under whichever name, and wherever stages begin
    differing = []
    for flag, wanted in flags_of(model).items():
        found = given.get(flag, _unset(flag, given))
        if _plain(found) != _plain(wanted):
            differing.append(f"{flag} is {_yaml(found)}, {name} has {_yaml(wanted)}")
    refuse_differing(differing, plan_lines(model, pretrained))


def _plain(value: Any) -> Any:
    """Normalise a value to compare: numbers as numbers, a window as Megatron reads it, ``(15, 0)`` like ``15,0``."""
    if isinstance(value, bool):
        return value
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value).replace(" ", "").strip("()")
    try:
        return float(text)
    except ValueError:
        return text


def _yaml(value: Any) -> str:
    """Return a flag's value as a plan has it."""
    if isinstance(value, float) and "." not in repr(value):  # YAML takes 1e-06 for text, and 1.0e-06 for a number
        return repr(value).replace("e", ".0e")
    return str(value).lower() if isinstance(value, bool) else str(value)
