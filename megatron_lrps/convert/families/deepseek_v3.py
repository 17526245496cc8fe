"""DeepSeek-V3: multi-latent attention, and a router of sigmoids that chooses groups of experts first."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import latent, llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.experts import predictions_of
from megatron_lrps.convert.families.family import Family, WeightNames

NAMES = WeightNames(
    expert_bias="mlp.gate.e_score_correction_bias", shared_expert="mlp.shared_experts", shared_expert_gate=""
)
"""The names of the weights."""
ARGUMENTS = {**latent.ARGUMENTS, "moe_router_score_function": "sigmoid", "moe_router_enable_expert_bias": True}
"""Megatron's arguments that all of its models share."""
DEFAULTS = {
    **latent.DEFAULTS,
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "max_position_embeddings": 4096,
    "first_k_dense_replace": 3,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "num_local_experts": 256,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "rope_interleave": True,
    "num_nextn_predict_layers": 1,
    "num_mtp_layers": 1,
}
"""The values of absent keys."""


def model_of(config: ConfigKeys, family: str = "deepseek_v3") -> Model:
    """Return the model of a config.json; raises RefusedError naming the key that Megatron cannot compute with."""
    config.need("norm_topk_prob", True)
    config.need("scoring_func", "sigmoid")
    config.need("topk_method", "noaux_tc")
    config.need("rope_interleave", True)
    if config.count("num_experts_per_tok") == 1:
        raise config.refused("num_experts_per_tok", "Megatron cannot renormalise the weight of one expert")
    own = {"sigmoid": True, "predictions": predictions_of(config)}
    return latent.model_of(config, family, other="num_local_experts", best=2, **own)


def config_of(model: Model) -> dict[str, Any]:
    """Return a model's config.json keys."""
    return latent.config_of(
        model,
        norm_topk_prob=True,
        scoring_func="sigmoid",
        topk_method="noaux_tc",
        rope_interleave=True,
        num_nextn_predict_layers=model.predictions,
    )


FAMILY = Family(
    name="deepseek_v3",
    models="DeepSeek-V3, R1 (in bf16, not in FP8)",
    made_by=(
        "`--multi-latent-attention` with `--q-lora-rank` and `--qk-layernorm`, `--norm-epsilon 1e-6`; experts as in "
        "`glm4_moe`, in groups or not; YaRN by `--rope-type`, `--rotary-scaling-factor`, `--mscale` and "
        "`--mscale-all-dim`; the layers of multi-token prediction are left out"
    ),
    architecture="DeepseekV3ForCausalLM",
    is_marked=lambda args: llama_like.has_latent_attention(args) and args.get("moe_router_score_function") == "sigmoid",
    arguments=ARGUMENTS,
    config_of=config_of,
    defaults=DEFAULTS,
    model_of=model_of,
    names=NAMES,
)
