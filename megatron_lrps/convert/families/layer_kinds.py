"""What differs by layer in a config.json: windows of attention, and layers without a rotary embedding."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families.config_keys import ConfigKeys

FULL, SLIDING = "full_attention", "sliding_attention"
"""The values of ``layer_types`` that Megatron has too."""
_MOST_LAYERS = 10_000


def layers_of(config: ConfigKeys) -> int:
    """Return the number of layers, of which a list can be made; raises RefusedError."""
    layers = config.count("num_hidden_layers")
    if layers > _MOST_LAYERS:
        raise config.refused("num_hidden_layers", f"at most {_MOST_LAYERS:,} layers that differ can")
    return layers


def layer_types_of(config: ConfigKeys, window: int | None) -> dict[str, Any] | None:
    """Return the window of the layers that ``layer_types`` names, as attributes of ``Model``; None without the key.

    Raises:
        RefusedError: the list is not one of full and sliding attention, or there is no window.
    """
    kinds, layers = config.value("layer_types"), config.count("num_hidden_layers")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in (FULL, SLIDING) for kind in kinds):
        raise config.refused("layer_types", f"a list of {layers} times {FULL} or {SLIDING} can")
    if SLIDING in kinds and window is None:
        raise config.refused("layer_types", f"{SLIDING} needs a sliding_window that is used")
    return windows(window, [kind == SLIDING for kind in kinds])


def windows(window: int | None, windowed: list[bool]) -> dict[str, Any]:
    """Return the window of some layers as attributes of ``Model``."""
    if window is None or not any(windowed):
        return {}
    return {"window": window, "windowed": None if all(windowed) else tuple(windowed)}


def window_keys_of(model: Model) -> dict[str, Any]:
    """Return ``sliding_window`` and ``layer_types`` of a model."""
    windowed = model.windowed or (model.window is not None,) * model.layers
    return {"sliding_window": model.window, "layer_types": [SLIDING if each else FULL for each in windowed]}
