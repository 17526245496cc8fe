"""Refuses by name the keys of a config.json that Megatron cannot compute with."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.errors import RefusedError


def need(config: Mapping[str, Any], name: str, key: str, *allowed: Any) -> None:
    """Refuse a value that is not allowed; a config without the key has the first allowed one.

    Args:
        config: The content of config.json.
        name: The file, for messages.
        key: The key.
        allowed: The values that Megatron can compute with.
    """
    if config.get(key, allowed[0]) not in allowed:
        raise RefusedError(
            f"{name}: {key} {config[key]!r} cannot be imported; {', '.join(map(repr, allowed))} can.",
            "import another model.",
        )


def refuse_window(config: Mapping[str, Any], name: str) -> None:
    """Refuse a sliding window."""
    window = config.get("sliding_window")
    if window is not None:
        raise RefusedError(
            f"{name}: sliding_window {window} of a {config['model_type']} model cannot be imported.",
            "import another model.",
        )


def refuse_used_window(config: Mapping[str, Any], name: str) -> None:
    """Refuse a sliding window of Qwen's, which counts only with ``use_sliding_window``."""
    if config.get("use_sliding_window", False):
        refuse_window(config, name)


def linear_bias(config: Mapping[str, Any], name: str, *, attention: bool, can: bool = False) -> bool:
    """Whether the linear layers have biases.

    Args:
        config: The content of config.json.
        name: The file, for messages.
        attention: Whether those of the attention have biases.
        can: Whether a model of the family can have them.

    Raises:
        RefusedError: some have and some do not, or they cannot.
    """
    if attention != bool(config.get("mlp_bias", False)) or (attention and not can):
        raise RefusedError(
            f"{name}: attention_bias {attention} with mlp_bias {config.get('mlp_bias', False)} cannot be imported.",
            "import another model; Megatron has biases in all linear layers or in none.",
        )
    return attention
