"""The common parts of Llama and the families that followed it: RMSNorm, SwiGLU and RoPE."""

from collections.abc import Collection, Mapping
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


def has_experts(args: Mapping[str, Any]) -> bool:
    """Whether Megatron's arguments describe a model with experts."""
    return bool(args.get("num_experts"))


def has_latent_attention(args: Mapping[str, Any]) -> bool:
    """Whether Megatron's arguments describe a model with multi-latent attention, and with experts."""
    return has_experts(args) and bool(args.get("multi_latent_attention"))


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


def model_of(config: ConfigKeys, family: str, *, kinds: Collection[str] = rope.KINDS, **own: Any) -> Model:
    """Return the model of a config.json.

    Args:
        config: The config.
        family: The name of the family.
        kinds: As in ``rope.rope_of``.
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
    rotary = rope.rope_of(config, positions, kinds=kinds)
    if "ffn" not in own:
        own["ffn"] = config.count("intermediate_size")
    if "rope_share" not in own:
        own["rope_share"] = rope.share_of(config)
    turned = int(head_dim * own["rope_share"])
    if turned % 2 or not turned:
        raise config.refused("partial_rotary_factor", f"it turns {turned} numbers of each head, and pairs are needed")
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
        **rotary._asdict(),
        **own,
    )


def no_biases(config: ConfigKeys) -> None:
    """Refuse biases in attention or MLP."""
    config.need("attention_bias", False)
    config.need("mlp_bias", False)


def biases_of(config: ConfigKeys) -> dict[str, Any]:
    """Return the biases, in all linear layers or in none, as attributes of ``Model``; raises RefusedError."""
    bias = config.switch("attention_bias")
    if config.switch("mlp_bias") != bias:
        raise config.refused("mlp_bias", f"attention_bias is {bias}, and Megatron has biases in all layers or in none")
    return {"bias": bias, "qkv_bias": bias}


def bias_keys_of(model: Model) -> dict[str, Any]:
    """Return the config.json keys of those biases."""
    return {"attention_bias": model.bias, "mlp_bias": model.bias}
