"""The common parts of the families with multi-latent attention: its sizes, and experts behind the first layers."""

from typing import Any

from megatron_lrps.convert.architecture import Latent, Model
from megatron_lrps.convert.families import llama_like, rope
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.experts import (
    experts_of,
    first_dense_of,
    group_keys_of,
    groups_of,
)

ARGUMENTS = {
    **llama_like.ARGUMENTS,
    "multi_latent_attention": True,
    "qk_layernorm": True,
    "add_bias_linear": False,
    "add_qkv_bias": False,
    "moe_shared_expert_intermediate_size": True,
    "moe_shared_expert_gate": False,
    "window_size": False,
}
"""Megatron's arguments that all of them share."""
DEFAULTS = {
    **llama_like.DEFAULTS,
    "auto_map": None,
    "qk_head_dim": None,
    "moe_layer_freq": 1,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
}
"""The values of absent keys."""
_SIZES = {
    "q_lora_rank": "queries",
    "kv_lora_rank": "keys",
    "qk_nope_head_dim": "plain",
    "qk_rope_head_dim": "turned",
    "v_head_dim": "value",
}
"""The keys of the sizes, and the attributes of ``Latent``."""
_EPSILON = 1e-6
"""The epsilon of the norms within attention, in transformers and in the publisher's code, whatever the key says."""


def model_of(config: ConfigKeys, family: str, *, other: str, best: int | None, **own: Any) -> Model:
    """Return the model of a config.json.

    Args:
        config: The config.
        family: The name of the family.
        other: As in ``experts_of``.
        best: As in ``groups_of``; None if a token chooses among all experts.
        own: Attributes of ``Model`` that the family reads itself.

    Raises:
        RefusedError: naming the key that Megatron cannot compute with.
    """
    _refuse_other_code(config)
    config.harmless("ep_size", "seq_aux", "aux_loss_alpha")  # of training
    config.need("hidden_act", "silu", "swish")
    config.need("attention_bias", False)
    config.need("moe_layer_freq", 1)
    heads = config.count("num_attention_heads")
    if (groups := config.optional_count("num_key_value_heads") or heads) != heads:
        raise config.refused("num_key_value_heads", f"num_attention_heads is {heads}", groups)
    if (epsilon := config.number("rms_norm_eps")) != _EPSILON:
        why = f"its norms within attention have {_EPSILON:g} whatever the key says, and Megatron's have one for all"
        raise config.refused("rms_norm_eps", why, epsilon)
    experts, top_k = experts_of(config, "n_routed_experts", other)
    chosen = None if best is None else groups_of(config, experts, top_k, best=best)
    ffn, dense, dense_ffn = (
        config.count("moe_intermediate_size"),
        first_dense_of(config),
        config.count("intermediate_size"),
    )
    latent, positions = _latent_of(config), config.count("max_position_embeddings")
    return Model(
        family=family,
        layers=config.count("num_hidden_layers"),
        hidden=config.count("hidden_size"),
        ffn=ffn,
        heads=heads,
        groups=heads,
        head_dim=latent.plain + latent.turned,
        vocab=config.count("vocab_size"),
        positions=positions,
        epsilon=epsilon,
        tied=config.switch("tie_word_embeddings"),
        qk_norm=True,
        rope_share=rope.share_of(config),
        experts=experts,
        top_k=top_k,
        shared_ffn=ffn * config.count("n_shared_experts"),
        dense=dense,
        dense_ffn=dense_ffn if dense else 0,
        routed_scale=config.number("routed_scaling_factor"),
        expert_groups=chosen,
        latent=latent,
        **rope.rope_of(config, positions, kinds=("default", "yarn"), latent=True)._asdict(),
        **own,
    )


def _latent_of(config: ConfigKeys) -> Latent:
    if config.value("q_lora_rank") is None:
        why = "Megatron-Core 0.19 builds queries without it only with a norm of their own, or without the norm of keys"
        raise config.refused("q_lora_rank", why)
    latent = Latent(**{name: config.count(key) for key, name in _SIZES.items()})
    if latent.turned % 2:
        raise config.refused("qk_rope_head_dim", "the rotary embedding needs an even number")
    for key, size in (("head_dim", latent.turned), ("qk_head_dim", latent.plain + latent.turned)):
        if key in config:
            config.need(key, size)
    return latent


def _refuse_other_code(config: ConfigKeys) -> None:
    """Take the publisher's own classes, which compute what transformers' classes of the same name do."""
    code = config.value("auto_map")
    if code is not None and not (
        isinstance(code, dict)
        and all(str(each).startswith(("configuration_deepseek.", "modeling_deepseek.")) for each in code.values())
    ):
        raise config.refused("auto_map", "the classes of configuration_deepseek and modeling_deepseek can", code)


def config_of(model: Model, **own: Any) -> dict[str, Any]:
    """Return a model's config.json keys; ``own`` are those of its family."""
    common = llama_like.config_of(model)
    del common["head_dim"]
    return {
        **common,
        **{key: getattr(model.latent, name) for key, name in _SIZES.items()},
        "intermediate_size": model.dense_ffn or model.ffn,
        "moe_intermediate_size": model.ffn,
        "attention_bias": False,
        "first_k_dense_replace": sum(model.dense or ()),
        "moe_layer_freq": 1,
        "n_routed_experts": model.experts,
        "num_experts_per_tok": model.top_k,
        "n_shared_experts": model.shared_ffn // model.ffn,
        "routed_scaling_factor": model.routed_scale,
        **group_keys_of(model),
        **own,
    }
