"""GPT-2: LayerNorm, learned positions, GELU, biases everywhere, and matrices that are Megatron's transposed."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family, WeightNames

_SUMMARY = (
    *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
)


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
        "n_ctx": model.positions,  # the name under which llama.cpp's converter looks for it
        "layer_norm_epsilon": model.epsilon,
        "activation_function": model.ungated,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


def _model_of(config: ConfigKeys) -> Model:
    gelu = config.need("activation_function", "gelu_new", "gelu")
    config.need("scale_attn_by_inverse_layer_idx", False)
    config.need("scale_attn_weights", True)
    # Upcasting rounds otherwise; the rest is dropout, which training has its own of, and a classifier's head.
    config.harmless("reorder_and_upcast_attn", "attn_pdrop", "embd_pdrop", "resid_pdrop", "n_ctx", *_SUMMARY)
    hidden, heads = config.count("n_embd"), config.count("n_head")
    if hidden % heads:
        raise config.refused("n_embd", f"n_head {heads} must divide it", hidden)
    return Model(
        family="gpt2",
        layers=config.count("n_layer"),
        hidden=hidden,
        ffn=config.optional_count("n_inner") or 4 * hidden,
        heads=heads,
        groups=heads,
        head_dim=hidden // heads,
        vocab=config.count("vocab_size"),
        positions=config.count("n_positions"),
        epsilon=config.number("layer_norm_epsilon"),
        tied=config.switch("tie_word_embeddings"),
        qkv_bias=True,
        bias=True,
        ungated=str(gelu),
    )


FAMILY = Family(
    name="gpt2",
    models="GPT-2",
    made_by="LayerNorm, learned positions, GELU (`gelu_new` with `--bias-gelu-fusion`, which is on by default), biases",
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
    defaults={
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
    },
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
