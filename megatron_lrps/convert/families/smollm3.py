"""SmolLM3: a Llama whose rotary embedding is missing in some layers (NoPE), which may have a window."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import layer_kinds, llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    own = llama_like.biases_of(config)
    ropeless = _ropeless_of(config)
    used = config.switch("use_sliding_window")
    window = config.optional_count("sliding_window") if used else None
    config.harmless("sliding_window")
    found = layer_kinds.layer_types_of(config, window)
    own |= layer_kinds.windows(window, ropeless) if found is None else found
    return llama_like.model_of(config, "smollm3", ropeless=tuple(ropeless) if any(ropeless) else None, **own)


def _ropeless_of(config: ConfigKeys) -> list[bool]:
    """Return for each layer whether it has no rotary embedding; 1 in ``no_rope_layers`` means that it has one."""
    layers, given, interval = layer_kinds.layers_of(config), config.value("no_rope_layers"), None
    if given is None:
        interval = config.count("no_rope_layer_interval")
        return [layer % interval == 0 for layer in range(1, layers + 1)]
    config.harmless("no_rope_layer_interval")
    if not isinstance(given, list) or len(given) < layers or any(type(each) is not int for each in given):
        raise config.refused("no_rope_layers", f"a list of {layers} times 0 or 1 can")
    return [not each for each in given[:layers]]


def _config_of(model: Model) -> dict[str, Any]:
    return {
        **llama_like.config_of(model),
        **llama_like.bias_keys_of(model),
        **layer_kinds.window_keys_of(model),
        "use_sliding_window": model.window is not None,
        "no_rope_layers": [int(not each) for each in model.ropeless or (False,) * model.layers],
    }


FAMILY = Family(
    name="smollm3",
    models="SmolLM3",
    made_by="a Llama with `--no-rope-freq`; windows in some layers",
    architecture="SmolLM3ForCausalLM",
    is_marked=lambda args: bool(args.get("no_rope_freq")),
    arguments=llama_like.ARGUMENTS,
    config_of=_config_of,
    defaults={
        **llama_like.DEFAULTS,
        "vocab_size": 128256,
        "hidden_size": 2048,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "rope_theta": 2e6,
        "no_rope_layers": None,
        "no_rope_layer_interval": 4,
        "use_sliding_window": False,
        "sliding_window": None,
        "layer_types": None,
    },
    model_of=_model_of,
)
