"""Megatron's arguments of a model as the flags under ``megatron:`` in a plan, whatever the model's family. Pure.

``model_flags.py`` does this for the families that have a ``Model``. Here a description by Megatron-Bridge is the
source, so the flags are read back as Megatron reads them, and must say the same.
"""

import re
from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import APPLIED_ROPE_FACTOR, ROPE_FACTOR
from megatron_lrps.convert.bridge_arguments import FORWARD_AND_FUSION, relevant, same_value, text_of
from megatron_lrps.convert.forward_arguments import FORWARD
from megatron_lrps.convert.model_flags import flags_of_plan, layer_list, lines_of_flags, refuse_differing
from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.hybrid_pattern import mamba_heads, pattern_of
from megatron_lrps.plan.keys.flag_values import FlagValue
from megatron_lrps.plan.megatron_arguments import (
    Argument,
    arguments,
    by_flag,
    flag_of,
    read_value,
    refuse_unknown_flags,
)
from megatron_lrps.plan.proved_flags import is_refused

_SIZES = ("num_layers", "hidden_size", "num_attention_heads")
_OTHER = "import another model, or train it in Megatron-Bridge's own loop."


def flags_of_arguments(args: Mapping[str, Any], name: str) -> dict[str, FlagValue]:
    """Return the flags that make Megatron's arguments, those with Megatron's default left out.

    Args:
        args: The arguments, by destination.
        name: Whose they are, for messages.

    Raises:
        RefusedError: an argument has no flag, or none with this value, or a plan may not have it.
    """
    wanted = relevant(args)
    flags: dict[str, FlagValue] = {}
    for each in FORWARD_AND_FUSION:
        argument, value = arguments()[each], wanted[each]
        usual = value == argument.default or (not value and not argument.default and not argument.negative)
        if value is None or usual or _derived(each, wanted):
            continue
        flag, given = _flag_of(argument, value, name)
        if is_refused(flag):
            raise _without_flag(each, value, name)
        flags[flag] = given
    if wanted["num_query_groups"] != wanted["num_attention_heads"]:
        flags["group-query-attention"] = True
    try:
        refuse_unknown_flags(flags)
    except PlanError as error:
        raise RefusedError(f"{name} cannot be a plan's model: {error.what}", _OTHER) from None
    read = relevant(arguments_of_flags(flags))
    for each in FORWARD_AND_FUSION:
        if not same_value(read[each], wanted[each]):
            raise _without_flag(each, wanted[each], name)
    order = list(arguments())
    return dict(sorted(flags.items(), key=lambda item: order.index(by_flag()[item[0]].destination)))


def all_arguments(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint is to say of its model: every argument of the forward pass, by destination."""
    found = {name: arguments()[name].default for name in FORWARD}
    decided = relevant(args)
    found |= {name: value for name, value in decided.items() if value is not None}
    found |= {name: args[name] for name in ("max_position_embeddings", "num_layers") if args.get(name) is not None}
    if _derived("moe_layer_freq", decided):
        found["moe_layer_freq"] = 1
    found["group_query_attention"] = decided["num_query_groups"] != decided["num_attention_heads"]
    found["bias_gelu_fusion"] = bool(args.get("bias_gelu_fusion"))
    if found["use_rope_scaling"] and found["rope_scaling_factor"] != ROPE_FACTOR:
        found[APPLIED_ROPE_FACTOR] = found["rope_scaling_factor"]  # as megatron_lrps.pretrain notes it
    return found


def arguments_of_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return destination -> value as Megatron reads a plan's flags; what it makes of others is added for sizes."""
    found: dict[str, Any] = {}
    for flag, value in flags.items():
        argument = by_flag().get(flag)
        if argument is not None and value is not False:
            found[argument.destination] = _numbers(argument, read_value(argument, value, flag))
    if pattern := pattern_of(flags):
        found["num_layers"] = len(pattern.partition("/")[0].replace("|", ""))
    return found


def refuse_other_flags(plan: Plan, flags: Mapping[str, FlagValue], pretrained: str, name: str) -> None:
    """Refuse a plan whose model is not the one that flags make.

    Args:
        plan: The plan.
        flags: As ``flags_of_arguments`` returns them.
        pretrained: The checkpoint, for the lines that fit.
        name: The model, for messages.

    Raises:
        RefusedError: naming every flag that differs with both values, and the lines that fit.
    """
    found = arguments_of_flags(flags_of_plan(plan))
    missing = [each for each in _SIZES if not found.get(each)]
    ours = {each: found.get(each) for each in _SIZES} if missing else relevant(found)
    theirs = relevant(arguments_of_flags(flags))
    differing = [
        f"{flag_of(each)} is {text_of(ours[each])}, {name} has {text_of(theirs[each])}"
        for each in (missing or FORWARD_AND_FUSION)
        if not same_value(ours[each], theirs[each])
    ]
    refuse_differing(differing, lines_of_flags(flags, pretrained))


def _derived(name: str, args: Mapping[str, Any]) -> bool:
    """Whether Megatron makes the same of other arguments."""
    match name:
        case "kv_channels":
            return bool(args[name] == args["hidden_size"] // args["num_attention_heads"])
        case "mamba_num_heads":
            return bool(args[name] == mamba_heads(args["hidden_size"], args["mamba_head_dim"]))
        case "num_query_groups":
            return bool(args[name] == args["num_attention_heads"])
        case "moe_ffn_hidden_size":
            return bool(args[name] == args["ffn_hidden_size"])
        case "moe_layer_freq":
            return isinstance(args[name], list) and all(each == 1 for each in args[name])
        case "is_hybrid_model":
            return True
        case "yarn_correction_range_round_to_int":
            return args[name] is True
        case "rope_type":
            return bool(args[name] == "yarn")
    return False


def _flag_of(argument: Argument, value: Any, name: str) -> tuple[str, FlagValue]:
    """Return the flag of an argument, and its value in a plan; raises RefusedError."""
    if argument.kind == "switch":
        flag = next((each for each in argument.flags if (each in argument.negative) != bool(value)), None)
        if flag is None:
            raise _without_flag(argument.destination, value, name)
        return flag, True
    if not argument.flags:
        raise _without_flag(argument.destination, value, name)
    if isinstance(value, list | tuple):
        numbers = [int(each) for each in value] if argument.kind in ("tuple", "pattern") else list(value)
        if argument.kind == "tuple":
            return argument.flags[0], ",".join(map(str, numbers))
        return argument.flags[0], layer_list(numbers) if argument.kind == "pattern" else numbers
    whole = argument.kind == "int" and isinstance(value, float) and value.is_integer()
    return argument.flags[0], int(value) if whole else value


def _without_flag(destination: str, value: Any, name: str) -> RefusedError:
    return RefusedError(
        f"Megatron-Bridge gives {name} {flag_of(destination)} {text_of(value)}, which no flag in a plan can say.",
        _OTHER,
    )


def _numbers(argument: Argument, value: Any) -> Any:
    """Return the numbers that a text stands for: ``16,0``, ``([0,1])``, ``([0]*3+[1]*9)``."""
    if not isinstance(value, str) or argument.kind not in ("tuple", "pattern"):
        return value
    if argument.kind == "tuple":
        return [int(each) for each in value.split(",")]
    terms = [re.fullmatch(r"\(*\[(\d+(?:,\d+)*)\]\)*(?:\*(\d+))?\)*", term) for term in value.split("+")]
    if not all(terms):
        return value
    return [int(each) for term in terms if term for each in term[1].split(",") * int(term[2] or 1)]
