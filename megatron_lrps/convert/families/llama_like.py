"""The common parts of Llama and the families that followed it: RMSNorm, SwiGLU and RoPE."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import LLAMA3_ROPE, ROPE_FACTOR, Model
from megatron_lrps.convert.families.config_keys import need
from megatron_lrps.errors import RefusedError

ARGUMENTS = {"position_embedding_type": "rope", "normalization": "RMSNorm", "swiglu": True}
"""Megatron's arguments that all of them share."""


def has_experts(args: Mapping[str, Any]) -> bool:
    """Whether Megatron's arguments describe a model with experts."""
    return bool(args.get("num_experts"))


def config_of(model: Model) -> dict[str, Any]:
    """Return the config.json keys that all of them have."""
    config: dict[str, Any] = {
        "hidden_size": model.hidden,
        "intermediate_size": model.ffn,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.groups,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.positions,
        "rms_norm_eps": model.epsilon,
        "rope_theta": model.rope_base,
        "hidden_act": "silu",
    }
    if model.rope_factor is not None:
        config["rope_scaling"] = {"rope_type": "llama3", "factor": model.rope_factor, **LLAMA3_ROPE}
    return config


def model_of(
    config: Mapping[str, Any], name: str, *, rope_base: float = 1e4, epsilon: float = 1e-6, **own: Any
) -> Model:
    """Return the model of a config.json.

    Args:
        config: The content of config.json.
        name: The file, for messages.
        rope_base: The base if the config has none.
        epsilon: The epsilon if the config has none.
        own: Attributes of ``Model`` that the family reads itself.

    Raises:
        RefusedError: naming the key that Megatron cannot compute with.
    """
    need(config, name, "hidden_act", "silu", "swish")
    rope = config.get("rope_parameters") or {}
    scaling = dict(config.get("rope_scaling") or {k: v for k, v in rope.items() if k != "rope_theta"})
    heads = config["num_attention_heads"]
    base = float(config.get("rope_theta", rope.get("rope_theta", rope_base)))
    if base != int(base):
        raise RefusedError(
            f"{name}: rope_theta is {base}, but Megatron takes only a whole number.", "import another model."
        )
    known: dict[str, Any] = {
        "family": config["model_type"],
        "layers": config["num_hidden_layers"],
        "hidden": config["hidden_size"],
        "heads": heads,
        "groups": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // heads,
        "vocab": config["vocab_size"],
        "positions": config["max_position_embeddings"],
        "epsilon": config.get("rms_norm_eps", epsilon),
        "tied": bool(config.get("tie_word_embeddings", False)),
        "rope_base": base,
        "rope_factor": _rope_factor(scaling, name),
    }
    if "ffn" not in own:
        known["ffn"] = config["intermediate_size"]
    return Model(**known, **own)


def _rope_factor(scaling: dict[str, Any], name: str) -> float | None:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return None
    fixed = {key: scaling.get(key) for key in LLAMA3_ROPE}
    if kind != "llama3" or fixed != LLAMA3_ROPE:
        raise RefusedError(
            f"{name}: rope_scaling {scaling} cannot be imported; Megatron has llama3's with {LLAMA3_ROPE}.",
            "import another model.",
        )
    if scaling["factor"] != ROPE_FACTOR:
        raise RefusedError(
            f"{name}: rope_scaling has factor {scaling['factor']}, but megatron-core 0.19 computes with "
            f"{ROPE_FACTOR:g}, whatever --rope-scaling-factor says.",
            "import a model with that factor.",
        )
    return ROPE_FACTOR
