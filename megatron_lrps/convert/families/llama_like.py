"""The common parts of Llama and the families that followed it: RMSNorm, SwiGLU and RoPE."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import rope
from megatron_lrps.convert.families.config_keys import ConfigKeys

ARGUMENTS = {"position_embedding_type": "rope", "normalization": "RMSNorm", "swiglu": True}
"""Megatron's arguments that all of them share."""
DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    **rope.DEFAULTS,
}
"""The values that transformers gives to keys that a Llama's config.json lacks; the other families differ in some."""
LIKE_MISTRAL = {"intermediate_size": 14336, "num_key_value_heads": 8, "max_position_embeddings": 4096 * 32}
"""Those of Mistral and Mixtral."""
LIKE_QWEN = {
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "layer_types": None,
    "use_mrope": False,
}
"""Those of Qwen's."""

_FULL, _SLIDING = "full_attention", "sliding_attention"
_MOST_LAYERS = 10_000


def has_experts(args: Mapping[str, Any]) -> bool:
    """Whether Megatron's arguments describe a model with experts."""
    return bool(args.get("num_experts"))


def config_of(model: Model) -> dict[str, Any]:
    """Return the config.json keys that all of them have."""
    return {
        "hidden_size": model.hidden,
        "intermediate_size": model.ffn,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.groups,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.positions,
        "rms_norm_eps": model.epsilon,
        "hidden_act": "silu",
        **rope.keys_of(model),
    }


def model_of(config: ConfigKeys, family: str, **own: Any) -> Model:
    """Return the model of a config.json.

    Args:
        config: The config.
        family: The name of the family.
        own: Attributes of ``Model`` that the family reads itself.

    Raises:
        RefusedError: naming the key that Megatron cannot compute with.
    """
    config.need("hidden_act", "silu", "swish")
    heads, hidden = config.count("num_attention_heads"), config.count("hidden_size")
    groups = config.optional_count("num_key_value_heads") or heads
    head_dim = config.optional_count("head_dim") or hidden // heads
    if heads % groups:
        raise config.refused("num_key_value_heads", f"it must divide num_attention_heads {heads}", groups)
    if head_dim % 2 or not head_dim:
        raise config.refused("head_dim", "the rotary embedding needs an even number", head_dim)
    positions = config.count("max_position_embeddings")
    rotary = rope.rope_of(config, positions)
    if "ffn" not in own:
        own["ffn"] = config.count("intermediate_size")
    return Model(
        family=family,
        layers=config.count("num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        groups=groups,
        head_dim=head_dim,
        vocab=config.count("vocab_size"),
        positions=positions,
        epsilon=config.number("rms_norm_eps"),
        tied=config.switch("tie_word_embeddings"),
        rope_base=rotary.base,
        rope_factor=rotary.factor,
        rope_interpolation=rotary.interpolation,
        yarn=rotary.yarn,
        **own,
    )


def no_biases(config: ConfigKeys) -> None:
    """Refuse biases in attention or MLP."""
    config.need("attention_bias", False)
    config.need("mlp_bias", False)


def windows_of(config: ConfigKeys) -> dict[str, Any]:
    """Return the window of a Qwen, and the layers that have it, as attributes of ``Model``.

    It counts only with ``use_sliding_window``, in the layers that ``layer_types`` says, or else from
    ``max_window_layers`` on.
    """
    config.need("use_mrope", False)
    if "head_dim" in config:
        config.count("head_dim")  # Llama's may be null, but none of Qwen's
    kinds, used = config.value("layer_types"), config.switch("use_sliding_window")
    window, first = config.optional_count("sliding_window") if used else None, config.value("max_window_layers")
    config.harmless("sliding_window")
    layers = config.count("num_hidden_layers")
    if kinds is not None:
        if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in (_FULL, _SLIDING) for kind in kinds):
            raise config.refused("layer_types", f"a list of {layers} times {_FULL} or {_SLIDING} can")
        if _SLIDING in kinds and window is None:
            raise config.refused("layer_types", f"{_SLIDING} needs a sliding_window, and use_sliding_window")
        return _windows(window, kinds) if _SLIDING in kinds else {}
    if window is None:
        return {}
    if type(first) is not int or first < 0:
        raise config.refused("max_window_layers", "it is a number of layers")
    full = min(first, layers)
    if layers > _MOST_LAYERS:
        raise config.refused("num_hidden_layers", f"at most {_MOST_LAYERS:,} with windows can")
    return _windows(window, [_FULL] * full + [_SLIDING] * (layers - full)) if full < layers else {}


def window_keys_of(model: Model) -> dict[str, Any]:
    """Return the config.json keys of a Qwen's window."""
    if model.window is None:
        return {"use_sliding_window": False}
    windowed = model.windowed or (True,) * model.layers
    return {
        "use_sliding_window": True,
        "sliding_window": model.window,
        "max_window_layers": windowed.index(True),
        "layer_types": [_SLIDING if each else _FULL for each in windowed],
    }


def _windows(window: int | None, kinds: list[str]) -> dict[str, Any]:
    windowed = tuple(kind == _SLIDING for kind in kinds)
    return {"window": window, "windowed": None if all(windowed) else windowed}
