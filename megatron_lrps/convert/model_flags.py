"""A model as the flags under ``megatron:`` in a plan. Pure."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.cpu_flags import CPU_FLAGS
from megatron_lrps.plan.flags import PRETRAINED


def flags_of(model: Model) -> dict[str, Any]:
    """Every flag that decides what the model is; a flag that must not be given is False."""
    grouped, moe = model.groups != model.heads, model.experts > 0
    layer = FAMILIES[model.family].arguments
    flags = {
        "num-layers": model.layers,
        "hidden-size": model.hidden,
        "ffn-hidden-size": model.ffn,
        "num-attention-heads": model.heads,
        "kv-channels": model.head_dim,
        "group-query-attention": grouped,
        "num-query-groups": model.groups if grouped else False,
        "norm-epsilon": model.epsilon,
        "normalization": layer["normalization"],
        "position-embedding-type": layer["position_embedding_type"],
        "rotary-base": int(model.rope_base),
        "use-rope-scaling": model.rope_factor is not None,
        "swiglu": layer["swiglu"],
        "disable-bias-linear": not model.bias,
        "add-qkv-bias": model.qkv_bias and not model.bias,
        "qk-layernorm": model.qk_norm,
        "untie-embeddings-and-output-weights": not model.tied,
        "window-size": f"{model.window - 1},0" if model.window else False,
        "num-experts": model.experts or False,
        "moe-ffn-hidden-size": model.ffn if moe else False,
        "moe-router-topk": model.top_k if moe else False,
        "moe-router-pre-softmax": moe and not model.renormalise,
        "moe-shared-expert-intermediate-size": model.shared_ffn or False,
        "moe-shared-expert-gate": model.shared_ffn > 0,
    }
    if model.gelu:
        flags["no-bias-gelu-fusion"] = model.gelu == "gelu"
    if layer["position_embedding_type"] == "learned_absolute":
        flags["max-position-embeddings"] = model.positions
    return flags


def _unset(flag: str, given: Mapping[str, Any]) -> Any:
    """The value that Megatron takes for a flag that is not among ``given``."""
    hidden, heads = given.get("hidden-size", 0), given.get("num-attention-heads", 1)
    match flag:
        case "rotary-base":
            return 10000
        case "norm-epsilon":
            return 1e-5
        case "normalization":
            return "LayerNorm"
        case "position-embedding-type":
            return "learned_absolute"
        case "moe-router-topk":
            return 2 if given.get("num-experts") else False
        case "kv-channels":
            return hidden // heads
        case "ffn-hidden-size":
            return int(4 * hidden * 2 / 3 / 64) * 64 if given.get("swiglu") else 4 * hidden
        case "moe-ffn-hidden-size" if given.get("num-experts"):
            return given.get("ffn-hidden-size", _unset("ffn-hidden-size", given))
    return False


def plan_lines(model: Model, pretrained: str) -> list[str]:
    """The lines to put under ``megatron:`` in a plan."""
    flags = flags_of(model)
    given = {flag: value for flag, value in flags.items() if value != _unset(flag, flags)}
    return [f"{flag}: {_yaml(value)}" for flag, value in {**given, PRETRAINED: pretrained}.items()]


def refuse_other_plan(plan: Plan, model: Model, pretrained: str, name: str) -> None:
    """Refuse a plan that would build another model than the one that the weights belong to.

    Raises:
        RefusedError: naming every flag that differs with both values, and the lines that fit.
    """
    given: dict[str, Any] = {"max-position-embeddings": plan.sequence_length, **plan.megatron}
    if plan.launch.device == "cpu":
        given |= CPU_FLAGS  # one of them chooses GPT-2's activation
    differing = []
    for flag, wanted in flags_of(model).items():
        found = given.get(flag, _unset(flag, given))
        if _plain(found) != _plain(wanted):
            differing.append(f"{flag} is {_yaml(found)}, {name} has {_yaml(wanted)}")
    if differing:
        lines = "\n".join(f"  {line}" for line in plan_lines(model, pretrained))
        raise RefusedError(
            f"The plan is of another model: {'; '.join(differing)}.", f"put these under `megatron:`\n{lines}"
        )


def _plain(value: Any) -> Any:
    """A value to compare: a number as a number, and a window as Megatron reads it, ``(15, 0)`` like ``15,0``."""
    if isinstance(value, bool):
        return value
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value).replace(" ", "").strip("()")
    try:
        return float(text)
    except ValueError:
        return text


def _yaml(value: Any) -> str:
    if isinstance(value, float) and "." not in repr(value):  # YAML takes 1e-06 for text, and 1.0e-06 for a number
        return repr(value).replace("e", ".0e")
    return str(value).lower() if isinstance(value, bool) else str(value)
