"""Phi-3 and Phi-4: a Llama with one matrix for queries, keys and values, and one for gate and up projection."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like, rope
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family, WeightNames


def _model_of(config: ConfigKeys) -> Model:
    llama_like.no_biases(config)
    config.harmless("embd_pdrop", "resid_pdrop")
    share = rope.share_of(config, whole=False)
    window = config.optional_count("sliding_window")
    return llama_like.model_of(config, "phi3", kinds=("default",), window=window, rope_share=share)


FAMILY = Family(
    name="phi3",
    models="Phi-3 (4k), Phi-4",
    made_by=(
        "a Llama or a Mistral with `--rotary-percent`; with all of the head turned it is exported as a Llama or a "
        "Mistral, or as this with `--family phi3`. LongRoPE (128k) is refused: Megatron has none"
    ),
    architecture="Phi3ForCausalLM",
    is_marked=lambda args: args.get("rotary_percent", 1.0) != 1.0,
    arguments={**llama_like.ARGUMENTS, "add_bias_linear": False},
    config_of=lambda model: {**llama_like.config_of(model), "sliding_window": model.window},
    defaults={
        **llama_like.DEFAULTS,
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
    },
    model_of=_model_of,
    names=WeightNames(qkv=("self_attn.qkv_proj",), mlp=("mlp.gate_up_proj", "mlp.down_proj")),
)
