"""DeepSeek-V2: multi-latent attention, and a router whose softmax is over all experts."""

from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import latent, llama_like
from megatron_lrps.convert.families.config_keys import ConfigKeys
from megatron_lrps.convert.families.family import Family, WeightNames

_GREEDY, _LIMITED = "greedy", "group_limited_greedy"


def _model_of(config: ConfigKeys) -> Model:
    config.need("norm_topk_prob", False)
    config.need("scoring_func", "softmax")
    config.need("mlp_bias", False)
    if config.value("head_dim") is None:
        config.put("head_dim", config.value("qk_rope_head_dim"))
    best = 1 if config.need("topk_method", _GREEDY, _LIMITED) == _LIMITED else None
    config.harmless("n_group", "topk_group")  # of the second method alone
    if config.count("hidden_size") % config.count("num_attention_heads"):
        raise config.refused("hidden_size", "num_attention_heads must divide it")  # transformers refuses it too
    return latent.model_of(config, "deepseek_v2", other="num_experts", best=best, renormalise=False)


def _config_of(model: Model) -> dict[str, Any]:
    method = _LIMITED if model.expert_groups else _GREEDY
    return latent.config_of(model, norm_topk_prob=False, scoring_func="softmax", topk_method=method, mlp_bias=False)


FAMILY = Family(
    name="deepseek_v2",
    models="models with DeepSeek-V2's architecture (not its own, as said below)",
    made_by=(
        "a `deepseek_v3` with `--moe-router-score-function softmax` and `--moe-router-pre-softmax`, without a bias of "
        "the experts"
    ),
    architecture="DeepseekV2ForCausalLM",
    is_marked=llama_like.has_latent_attention,
    arguments={
        **latent.ARGUMENTS,
        "moe_router_score_function": "softmax",
        "moe_router_enable_expert_bias": False,
        "moe_router_pre_softmax": True,
    },
    config_of=_config_of,
    defaults={
        **latent.DEFAULTS,
        "vocab_size": 102400,
        "moe_intermediate_size": 1407,
        "first_k_dense_replace": 0,
        "n_shared_experts": 2,
        "n_routed_experts": 64,
        "num_experts": 64,
        "num_experts_per_tok": None,
        "n_group": None,
        "topk_group": None,
        "topk_method": _GREEDY,
        "routed_scaling_factor": 1.0,
        "norm_topk_prob": False,
        "scoring_func": "softmax",
    },
    model_of=_model_of,
    names=WeightNames(shared_expert="mlp.shared_experts", shared_expert_gate=""),
)
