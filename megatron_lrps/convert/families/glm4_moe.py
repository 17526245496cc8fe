"""GLM-4.5: a router of sigmoids with a bias of each expert, experts that all tokens go to, the first layers dense."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import llama_like, rope
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.experts import experts_of, first_dense_of, group_keys_of, groups_of, predictions_of
from megatron_lrps.convert.families.family import Family, WeightNames


def _model_of(config: ConfigKeys) -> Model:
    experts, top_k = experts_of(config, "n_routed_experts", "num_local_experts")
    if top_k == 1:
        raise config.refused("num_experts_per_tok", "Megatron cannot renormalise the weight of one expert")
    config.need("norm_topk_prob", True)
    config.count("num_key_value_heads")
    ffn, dense, dense_ffn = (
        config.count("moe_intermediate_size"),
        first_dense_of(config),
        config.count("intermediate_size"),
    )
    return llama_like.model_of(
        config,
        "glm4_moe",
        kinds=("default",),
        rope_share=rope.share_of(config, whole=False),
        qkv_bias=config.switch("attention_bias"),
        qk_norm=config.switch("use_qk_norm"),
        ffn=ffn,
        experts=experts,
        top_k=top_k,
        shared_ffn=ffn * config.count("n_shared_experts"),
        dense=dense,
        dense_ffn=dense_ffn if dense else 0,
        sigmoid=True,
        routed_scale=config.number("routed_scaling_factor"),
        expert_groups=groups_of(config, experts, top_k, best=2),
        predictions=predictions_of(config),
    )


def _config_of(model: Model) -> dict[str, Any]:
    return {
        **llama_like.config_of(model),
        "partial_rotary_factor": model.rope_share,
        "attention_bias": model.qkv_bias,
        "use_qk_norm": model.qk_norm,
        "intermediate_size": model.dense_ffn or model.ffn,
        "moe_intermediate_size": model.ffn,
        "first_k_dense_replace": sum(model.dense or ()),
        "n_routed_experts": model.experts,
        "num_experts_per_tok": model.top_k,
        "n_shared_experts": model.shared_ffn // model.ffn,
        "routed_scaling_factor": model.routed_scale,
        "norm_topk_prob": True,
        **group_keys_of(model),
        "num_nextn_predict_layers": model.predictions,
    }


FAMILY = Family(
    name="glm4_moe",
    models="GLM-4.5, GLM-4.6",
    made_by=(
        "experts with `--moe-router-score-function sigmoid`, `--moe-router-enable-expert-bias`, "
        "`--moe-router-topk-scaling-factor`, in groups or not (`--moe-router-num-groups`, `--moe-router-group-topk`), "
        "shared ones without a gate, `--moe-layer-freq` with the first layers dense, `--rotary-percent`, "
        "`--add-qkv-bias`, `--qk-layernorm`; the layers of multi-token prediction are left out"
    ),
    architecture="Glm4MoeForCausalLM",
    is_marked=lambda args: llama_like.has_experts(args) and args.get("moe_router_score_function") == "sigmoid",
    arguments={
        **llama_like.ARGUMENTS,
        "add_bias_linear": False,
        "moe_router_score_function": "sigmoid",
        "moe_router_enable_expert_bias": True,
        "moe_shared_expert_intermediate_size": True,
        "moe_shared_expert_gate": False,
        "window_size": False,
    },
    config_of=_config_of,
    defaults={
        **llama_like.DEFAULTS,
        "vocab_size": 151552,
        "intermediate_size": 10944,
        "num_hidden_layers": 46,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "partial_rotary_factor": 0.5,
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "n_routed_experts": 128,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
        "use_qk_norm": False,
        "num_nextn_predict_layers": 1,
        "num_mtp_layers": 1,
        "num_local_experts": 128,
    },
    model_of=_model_of,
    names=WeightNames(
        expert_bias="mlp.gate.e_score_correction_bias", shared_expert="mlp.shared_experts", shared_expert_gate=""
    ),
)
