"""The common parts of the Qwen families with experts."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like, qwen_windows
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
        "mlp_only_layers": [],
    }


def model_of(config: ConfigKeys, family: str, *, same: bool = True, **own: Any) -> Model:
    """Return the model of a config.json; ``own`` is what its family reads itself.

    ``same`` is as in ``experts_of``. Raises as ``llama_like.model_of``.
    """
    config.need("use_sliding_window", False)  # their windows differ by layer
    qwen_windows.windows_of(config)
    config.count("num_key_value_heads")  # Llama's may be null, but not theirs
    config.need("decoder_sparse_step", 1)
    config.need("mlp_only_layers", None, [])
    config.harmless("intermediate_size")  # of layers without experts, which there are none of
    experts, top_k = experts_of(config, "num_experts", "num_local_experts", same=same)
    renormalise = config.switch("norm_topk_prob")
    if renormalise and top_k == 1:
        raise config.refused("num_experts_per_tok", "Megatron cannot renormalise the weight of one expert")
    ffn = config.count("moe_intermediate_size")
    return llama_like.model_of(config, family, ffn=ffn, experts=experts, top_k=top_k, renormalise=renormalise, **own)
