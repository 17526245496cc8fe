"""config.json of a model, and a model from a config.json.

Keys are those that transformers 4 and 5, vLLM and lm-eval all read (``rope_theta``, ``rope_scaling``,
``torch_dtype``); transformers 5's own ``rope_parameters`` and ``dtype`` are read too.
"""

from collections.abc import Mapping
from typing import Any, get_args

from megatron_lrps.convert.architecture import LLAMA3_ROPE, ROPE_FACTOR, Family, Model
from megatron_lrps.errors import RefusedError

ARCHITECTURES: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
"""Family -> transformers' class."""
_QWEN_MOE = ("qwen2_moe", "qwen3_moe")


def config_of(model: Model, *, dtype: str, bos: int | None, eos: int | None) -> dict[str, Any]:
    """A model's config.json.

    Args:
        model: What it is.
        dtype: Of the weights: ``bfloat16``, ``float32``.
        bos: The tokenizer's id that begins a text, if it has one.
        eos: The id that ends a document.
    """
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[model.family]],
        "model_type": model.family,
        "torch_dtype": dtype,
        "vocab_size": model.vocab,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "tie_word_embeddings": model.tied,
    }
    if model.family == "gpt2":
        return config | {
            "n_embd": model.hidden,
            "n_layer": model.layers,
            "n_head": model.heads,
            "n_inner": model.ffn,
            "n_positions": model.positions,
            "layer_norm_epsilon": model.epsilon,
            "activation_function": model.gelu,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
        }
    config |= {
        "hidden_size": model.hidden,
        "intermediate_size": model.ffn,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.groups,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.positions,
        "rms_norm_eps": model.epsilon,
        "rope_theta": model.rope_base,
        "hidden_act": "silu",
    }
    if model.rope_factor is not None:
        config["rope_scaling"] = {"rope_type": "llama3", "factor": model.rope_factor, **LLAMA3_ROPE}
    if model.family == "llama":
        config |= {"attention_bias": model.bias, "mlp_bias": model.bias}
    if model.family in ("mistral", "mixtral"):
        config["sliding_window"] = model.window
    if model.family in ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"):
        config["use_sliding_window"] = False
    if model.family == "mixtral":
        config |= {"num_local_experts": model.experts, "num_experts_per_tok": model.top_k}
    if model.family == "qwen2_moe":
        config |= {"qkv_bias": True, "shared_expert_intermediate_size": model.shared_ffn}
    if model.family in _QWEN_MOE:
        config |= {
            "num_experts": model.experts,
            "num_experts_per_tok": model.top_k,
            "moe_intermediate_size": model.ffn,
            "norm_topk_prob": model.renormalise,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
    return config


def model_of_config(config: Mapping[str, Any], name: str) -> Model:
    """The model that a config.json describes.

    Args:
        config: Its content.
        name: The file, for messages.

    Raises:
        RefusedError: naming the key that Megatron's models here do not have, or that is missing.
    """
    family: Any = config.get("model_type")
    if family not in get_args(Family):
        raise RefusedError(
            f"{name}: model_type {family!r} cannot be imported; {', '.join(get_args(Family))} can.",
            "name another model.",
        )
    try:
        return _gpt2(config, name) if family == "gpt2" else _llama_like(family, config, name)
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"{name} is no config of a {family} model: {error!r}.", "fix it.") from None


def _gpt2(config: Mapping[str, Any], name: str) -> Model:
    _need(config, name, "activation_function", ("gelu", "gelu_new"), "gelu_new")
    for key, usual in (("scale_attn_by_inverse_layer_idx", False), ("add_cross_attention", False)):
        _need(config, name, key, (usual,), usual)
    _need(config, name, "scale_attn_weights", (True,), True)
    hidden, heads = config["n_embd"], config["n_head"]
    return Model(
        family="gpt2",
        layers=config["n_layer"],
        hidden=hidden,
        ffn=config.get("n_inner") or 4 * hidden,
        heads=heads,
        groups=heads,
        head_dim=hidden // heads,
        vocab=config["vocab_size"],
        positions=config["n_positions"],
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        tied=config.get("tie_word_embeddings", True),
        qkv_bias=True,
        bias=True,
        gelu=config.get("activation_function", "gelu_new"),
    )


def _llama_like(family: Family, config: Mapping[str, Any], name: str) -> Model:
    _need(config, name, "hidden_act", ("silu", "swish"), "silu")
    moe = family == "mixtral" or family in _QWEN_MOE
    biased = bool(config.get("attention_bias", False)) if family in ("llama", "qwen3", "qwen3_moe") else False
    if biased != bool(config.get("mlp_bias", False)) or (biased and family != "llama"):
        raise RefusedError(
            f"{name}: attention_bias {biased} with mlp_bias {config.get('mlp_bias', False)} cannot be imported.",
            "Megatron has biases in all linear layers or in none; name another model.",
        )
    window = config.get("sliding_window")
    if family.startswith("qwen") and not config.get("use_sliding_window", False):
        window = None
    if window is not None and family != "mistral":
        raise RefusedError(f"{name}: sliding_window {window} of a {family} model cannot be imported.", "name another.")
    if family == "qwen2_moe":
        _need(config, name, "qkv_bias", (True,), True)
    if family in _QWEN_MOE:
        _need(config, name, "decoder_sparse_step", (1,), 1)
        _need(config, name, "mlp_only_layers", ([],), [])
    rope = config.get("rope_parameters") or {}
    scaling = dict(config.get("rope_scaling") or {k: v for k, v in rope.items() if k != "rope_theta"})
    heads = config["num_attention_heads"]
    base = float(config.get("rope_theta", rope.get("rope_theta", 1e6 if family == "mixtral" else 1e4)))
    if base != int(base):
        raise RefusedError(f"{name}: rope_theta {base} is no whole number, and Megatron's is.", "name another model.")
    return Model(
        family=family,
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        ffn=config["moe_intermediate_size"] if family in _QWEN_MOE else config["intermediate_size"],
        heads=heads,
        groups=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocab=config["vocab_size"],
        positions=config["max_position_embeddings"],
        epsilon=config.get("rms_norm_eps", 1e-5 if family == "mixtral" else 1e-6),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=biased or family in ("qwen2", "qwen2_moe"),
        bias=biased,
        qk_norm=family in ("qwen3", "qwen3_moe"),
        rope_base=base,
        rope_factor=_rope_factor(scaling, name),
        window=window,
        experts=config.get("num_local_experts", config.get("num_experts", 0)) if moe else 0,
        top_k=config["num_experts_per_tok"] if moe else 0,
        renormalise=bool(config.get("norm_topk_prob", False)) if family in _QWEN_MOE else True,
        shared_ffn=config["shared_expert_intermediate_size"] if family == "qwen2_moe" else 0,
    )


def _need(config: Mapping[str, Any], name: str, key: str, allowed: tuple[Any, ...], usual: Any) -> None:
    if config.get(key, usual) not in allowed:
        raise RefusedError(
            f"{name}: {key} {config[key]!r} cannot be imported; {', '.join(map(repr, allowed))} can.", "name another."
        )


def _rope_factor(scaling: dict[str, Any], name: str) -> float | None:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return None
    fixed = {key: scaling.get(key) for key in LLAMA3_ROPE}
    if kind != "llama3" or fixed != LLAMA3_ROPE:
        raise RefusedError(
            f"{name}: rope_scaling {scaling} cannot be imported; Megatron has llama3's with {LLAMA3_ROPE}.",
            "name another model.",
        )
    if scaling["factor"] != ROPE_FACTOR:
        raise RefusedError(
            f"{name}: rope_scaling has factor {scaling['factor']}, and megatron-core 0.19 computes with "
            f"{ROPE_FACTOR:g}, whatever --rope-scaling-factor says.",
            "name a model with that factor.",
        )
    return ROPE_FACTOR
