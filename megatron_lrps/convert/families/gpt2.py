"""GPT-2: LayerNorm, learned positions, GELU, biases everywhere, and matrices that are Megatron's transposed."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families.config_keys import need
from megatron_lrps.convert.families.family import Family, WeightNames


def _is_marked(args: Mapping[str, Any]) -> bool:
    layer = (args.get("position_embedding_type"), args.get("normalization"))
    gated_or_experts = args.get("swiglu") or args.get("num_experts")
    return layer == ("learned_absolute", "LayerNorm") and not gated_or_experts


def _config_of(model: Model) -> dict[str, Any]:
    return {
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


def _model_of(config: Mapping[str, Any], name: str) -> Model:
    need(config, name, "activation_function", "gelu_new", "gelu")
    for key in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        need(config, name, key, False)
    need(config, name, "scale_attn_weights", True)
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


FAMILY = Family(
    name="gpt2",
    architecture="GPT2LMHeadModel",
    is_marked=_is_marked,
    arguments={
        "position_embedding_type": "learned_absolute",
        "normalization": "LayerNorm",
        "swiglu": False,
        "add_bias_linear": True,
        "qk_layernorm": False,
        "window_size": False,
        "use_te_activation_func": False,
    },
    plain_heads=True,
    config_of=_config_of,
    model_of=_model_of,
    names=WeightNames(
        layer="transformer.h",
        embedding="transformer.wte.weight",
        positions="transformer.wpe.weight",
        norm="transformer.ln_f",
        input_norm="ln_1",
        mlp_norm="ln_2",
        qkv=("attn.c_attn",),
        attention_output="attn.c_proj",
        mlp=("mlp.c_fc", "mlp.c_proj"),
        norm_bias=True,
        transposed=True,
    ),
)
