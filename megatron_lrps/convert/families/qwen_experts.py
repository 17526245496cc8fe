"""The common parts of the Qwen families with experts."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import need, refuse_used_window


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


def model_of(config: Mapping[str, Any], name: str, **own: Any) -> Model:
    """Return the model of a config.json; ``own`` is what its family reads itself. Raises as ``llama_like.model_of``."""
    refuse_used_window(config, name)
    need(config, name, "decoder_sparse_step", 1)
    need(config, name, "mlp_only_layers", [])
    return llama_like.model_of(
        config,
        name,
        ffn=config["moe_intermediate_size"],
        experts=config.get("num_local_experts", config.get("num_experts", 0)),
        top_k=config["num_experts_per_tok"],
        renormalise=bool(config.get("norm_topk_prob", False)),
        **own,
    )
