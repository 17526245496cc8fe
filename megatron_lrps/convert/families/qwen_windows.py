"""The windows of the Qwen families."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import layer_kinds
from megatron_lrps.convert.families.config_keys import ConfigKeys


def windows_of(config: ConfigKeys) -> dict[str, Any]:
    """Return the window of a Qwen, and the layers that have it, as attributes of ``Model``.

    It counts only with ``use_sliding_window``, in the layers that ``layer_types`` says, or else from
    ``max_window_layers`` on.
    """
    config.need("use_mrope", False)
    if "head_dim" in config:
        config.count("head_dim")  # Llama's may be null, but none of Qwen's
    used = config.switch("use_sliding_window")
    window, first = config.optional_count("sliding_window") if used else None, config.value("max_window_layers")
    config.harmless("sliding_window")
    if (found := layer_kinds.layer_types_of(config, window)) is not None:
        return found
    if window is None:
        return {}
    if type(first) is not int or first < 0:
        raise config.refused("max_window_layers", "it is a number of layers")
    layers = layer_kinds.layers_of(config)
    full = min(first, layers)
    return layer_kinds.windows(window, [False] * full + [True] * (layers - full))


def window_keys_of(model: Model) -> dict[str, Any]:
    """Return the config.json keys of a Qwen's window."""
    if model.window is None:
        return {"use_sliding_window": False}
    windowed = model.windowed or (True,)
    return {
        "use_sliding_window": True,
        "max_window_layers": windowed.index(True),
        **layer_kinds.window_keys_of(model),
    }
