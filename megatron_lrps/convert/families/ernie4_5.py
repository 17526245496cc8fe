"""ERNIE 4.5, the dense models: a Llama whose rotary embedding turns neighbouring numbers."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family


def _model_of(config: ConfigKeys) -> Model:
    bias = config.switch("use_bias")
    kinds = ("default", "linear", "llama3")  # Megatron's YaRN does not turn neighbours
    return llama_like.model_of(config, "ernie4_5", kinds=kinds, bias=bias, qkv_bias=bias, rope_interleaved=True)


FAMILY = Family(
    name="ernie4_5",
    models="ERNIE 4.5 0.3B",
    made_by="a Llama with `--rotary-interleaved`",
    architecture="Ernie4_5ForCausalLM",
    is_marked=lambda args: bool(args.get("rotary_interleaved")),
    arguments={**llama_like.ARGUMENTS, "rotary_interleaved": True},
    config_of=lambda model: {**llama_like.config_of(model), "use_bias": model.bias},
    defaults={
        **llama_like.DEFAULTS,
        "vocab_size": 103424,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 18,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "rope_theta": 5e5,
        "use_bias": False,
    },
    model_of=_model_of,
)
