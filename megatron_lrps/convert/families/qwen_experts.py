"""The common parts of the Qwen families with experts."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import layer_kinds, llama_like, qwen_windows
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.experts import experts_of

DEFAULTS = {
    **llama_like.DEFAULTS,
    **llama_like.LIKE_QWEN,
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "decoder_sparse_step": 1,
    "mlp_only_layers": None,
    "norm_topk_prob": False,
    "num_local_experts": None,
}
"""The values of absent keys."""


def config_of(model: Model, **own: Any) -> dict[str, Any]:
    """Return a model's config.json keys; ``own`` are those of its family."""
    return {
        **llama_like.config_of(model),
        "use_sliding_window": False,
        **own,
        "num_experts": model.experts,
        "num_experts_per_tok": model.top_k,
        "moe_intermediate_size": model.ffn,
        "norm_topk_prob": model.renormalise,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [layer for layer, dense in enumerate(model.dense or ()) if dense],
        "intermediate_size": model.dense_ffn or model.ffn,
    }


def model_of(config: ConfigKeys, family: str, *, same: bool = True, **own: Any) -> Model:
    """Return the model of a config.json; ``own`` is what its family reads itself.

    ``same`` is as in ``experts_of``. Raises as ``llama_like.model_of``.
    """
    config.need("use_sliding_window", False)  # their windows differ by layer
    qwen_windows.windows_of(config)
    config.count("num_key_value_heads")  # Llama's may be null, but not theirs
    dense = _dense_of(config)
    dense_ffn = config.count("intermediate_size") if any(dense) else 0
    config.harmless("intermediate_size")  # of layers without experts alone
    experts, top_k = experts_of(config, "num_experts", "num_local_experts", same=same)
    renormalise = config.switch("norm_topk_prob")
    if renormalise and top_k == 1:
        raise config.refused("num_experts_per_tok", "Megatron cannot renormalise the weight of one expert")
    ffn = config.count("moe_intermediate_size")
    own |= {"dense": dense if any(dense) else None, "dense_ffn": dense_ffn}
    return llama_like.model_of(config, family, ffn=ffn, experts=experts, top_k=top_k, renormalise=renormalise, **own)


def _dense_of(config: ConfigKeys) -> tuple[bool, ...]:
    """Return for each layer whether it has an MLP in place of the experts."""
    layers, step, listed = (
        layer_kinds.layers_of(config),
        config.count("decoder_sparse_step"),
        config.value("mlp_only_layers") or [],
    )
    if not isinstance(listed, list) or any(type(each) is not int for each in listed):
        raise config.refused("mlp_only_layers", "a list of numbers of layers can")
    dense = tuple(layer in listed or (layer + 1) % step != 0 for layer in range(layers))
    if all(dense):
        raise config.refused("mlp_only_layers" if listed else "decoder_sparse_step", "a layer needs experts")
    return dense
