"""The layers of a hybrid model from Megatron's arguments, and Megatron's arguments for them."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Mamba, Model
from megatron_lrps.convert.forward_arguments import refused_argument
from megatron_lrps.plan.hybrid_pattern import ATTENTION, EXPERTS, MAMBA, MLP, STAGE, mamba_heads

_MAMBA = {
    "mamba_num_heads": "heads",
    "mamba_head_dim": "width",
    "mamba_state_dim": "state",
    "mamba_num_groups": "groups",
}
"""Megatron's arguments of Mamba layers, and the attributes of ``Mamba``."""


def with_one_pattern(args: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return arguments with a hybrid model's pattern under its newer name alone."""
    older = args.get("hybrid_override_pattern")
    return args if older is None else {**args, "hybrid_layer_pattern": older, "hybrid_override_pattern": None}


def without_stages(args: Mapping[str, Any]) -> dict[str, str]:
    """Return the pattern of a hybrid model, by argument, without the beginnings of stages, which are of one layout."""
    names = ("hybrid_layer_pattern", "hybrid_override_pattern")
    return {name: str(args[name]).replace(STAGE, "") for name in names if args.get(name)}


def pattern_of_args(args: Mapping[str, Any]) -> str:
    """Return the letter of each layer of a hybrid model, without the beginnings of stages; raises RefusedError."""
    given = args.get("hybrid_layer_pattern")
    if not given:
        return ""
    pattern = str(given).replace(STAGE, "")
    if {*pattern} - {MAMBA, ATTENTION, MLP, EXPERTS}:
        raise refused_argument("hybrid_layer_pattern", given)
    return pattern


def mamba_of(args: Mapping[str, Any]) -> Mamba | None:
    """Return the Mamba layers' sizes, if there are any; if no heads are given, they are twice as wide as the model."""
    if MAMBA not in str(with_one_pattern(args).get("hybrid_layer_pattern")):
        return None
    width = args["mamba_head_dim"]
    heads = args.get("mamba_num_heads") or mamba_heads(args["hidden_size"], width)
    return Mamba(heads=heads, width=width, state=args["mamba_state_dim"], groups=args["mamba_num_groups"])


def args_of_pattern(model: Model) -> dict[str, Any]:
    """Return Megatron's arguments for the kinds of a model's layers, by destination."""
    sizes = {argument: getattr(model.mamba, name) for argument, name in _MAMBA.items()} if model.mamba else {}
    return {"hybrid_layer_pattern": model.pattern or None, **sizes}
