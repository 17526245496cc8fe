"""Arguments that have no Hugging Face counterpart are refused by name; those that have are read alike."""

from typing import Any

import pytest
from convert.models import LLAMA_MODEL as LLAMA

from megatron_lrps.convert.architecture import Latent, Model, Yarn
from megatron_lrps.convert.model_arguments import args_of, model_of_args
from megatron_lrps.errors import RefusedError

DEEPSEEK: dict[str, Any] = {
    **{"family": "deepseek_v3", "groups": 4, "head_dim": 24, "qk_norm": True, "epsilon": 1e-6, "experts": 8},
    **{"top_k": 4, "sigmoid": True, "shared_ffn": 96},
    "latent": Latent(queries=24, keys=16, plain=16, turned=8, value=12),
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"family": "mistral", "window": 16},
        {"family": "qwen2", "qkv_bias": True},
        {"family": "qwen2", "qkv_bias": True, "window": 16, "windowed": (False, True)},
        {"family": "qwen3", "qk_norm": True, "window": 16},
        {"family": "qwen3", "qk_norm": True, "head_dim": 32},
        {"family": "ministral", "window": 16, "windowed": (False, True)},
        {"family": "smollm3", "ropeless": (True, False)},
        {"family": "smollm3", "ropeless": (False, True), "window": 16, "windowed": (False, True), "tied": True},
        {"family": "phi3", "rope_share": 0.75, "window": 16},
        {"family": "ernie4_5", "rope_interleaved": True, "bias": True, "qkv_bias": True},
        {"family": "mixtral", "experts": 4, "top_k": 2},
        {"family": "qwen3_moe", "experts": 8, "top_k": 3, "qk_norm": True, "renormalise": False},
        {"family": "qwen2_moe", "experts": 8, "top_k": 3, "qkv_bias": True, "shared_ffn": 80, "renormalise": False},
        {"family": "qwen3_moe", "experts": 8, "top_k": 3, "qk_norm": True, "dense": (False, True), "dense_ffn": 200},
        {"family": "glm4_moe", "experts": 8, "top_k": 3, "sigmoid": True, "shared_ffn": 192, "rope_share": 0.5},
        {"family": "glm4_moe", "experts": 8, "top_k": 3, "sigmoid": True, "shared_ffn": 96, "routed_scale": 2.5}
        | {"dense": (True, False), "dense_ffn": 200, "qk_norm": True, "qkv_bias": True},
        {"family": "glm4_moe", "experts": 8, "top_k": 4, "sigmoid": True, "shared_ffn": 96, "expert_groups": (4, 2)},
        {**DEEPSEEK, "yarn": Yarn(factor=40.0, original=4096, mscale=0.7, mscale_all_dim=1.5)},
        {**DEEPSEEK, "dense": (True, False), "dense_ffn": 200, "expert_groups": (4, 2), "routed_scale": 2.5},
        {**DEEPSEEK, "yarn": Yarn(factor=1.0, original=4096), "tied": True},
        {**DEEPSEEK, "family": "deepseek_v2", "sigmoid": False, "renormalise": False, "routed_scale": 16.0},
        {**DEEPSEEK, "family": "deepseek_v2", "sigmoid": False, "renormalise": False, "top_k": 3}
        | {"expert_groups": (4, 2)},
        {
            "family": "gpt_oss",
            "experts": 8,
            "top_k": 3,
            "sinks": True,
            "glu_clamp": 7.0,
            "bias": True,
            "qkv_bias": True,
        },
        {"family": "gpt_oss", "experts": 8, "top_k": 3, "sinks": True, "glu_clamp": 5.5, "bias": True, "qkv_bias": True}
        | {"window": 16, "windowed": (False, True), "yarn": Yarn(factor=4.0, original=64, whole=False)},
        {"family": "gpt2", "groups": 4, "bias": True, "qkv_bias": True, "ungated": "gelu_new"},
        {"bias": True, "qkv_bias": True, "tied": True},
        {"rope_factor": 8.0, "rope_base": 500000.0},
        {"rope_factor": 32.0, "rope_base": 500000.0},
        {"rope_interpolation": 4},
        {"yarn": Yarn(factor=4.0, original=4096)},
        {"yarn": Yarn(factor=2.5, original=64, fast=24.0, slow=2.0, whole=False)},
    ],
)
def test_a_model_is_the_same_through_megatrons_arguments(change: dict[str, Any]) -> None:
    model = Model(**{**LLAMA.__dict__, **change})
    assert model_of_args(args_of(model), 111) == model


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("squared_relu", True),
        ("multi_latent_attention", True),
        ("mtp_num_layers", 1),
        ("layernorm_zero_centered_gamma", True),
        ("softmax_type", "learnable"),
        ("softmax_type", "off-by-one"),
        ("quick_geglu", True),
        ("glu_linear_offset", 1.0),
        ("activation_func_clamp_value", 7.0),
        ("no_rope_freq", [0, 1, 1]),
        ("moe_layer_freq", [0, 1]),
        ("normalization", "LayerNorm"),
        ("position_embedding_type", "mrope"),
        ("swiglu", False),
        ("window_size", (8, 8)),
        ("rope_scaling_factor", 32.0),
    ],
)
def test_an_argument_without_a_counterpart_is_named(name: str, value: Any) -> None:
    args = args_of(LLAMA) | {"use_rope_scaling": name == "rope_scaling_factor", name: value}
    with pytest.raises(RefusedError, match=f"--{name.replace('_', '-')} "):
        model_of_args(args, 111)


@pytest.mark.parametrize(
    ("family", "change", "name"),
    [
        ("phi3", {"rope_share": 0.05}, "partial_rotary_factor"),
        ("phi3", {"rope_share": 0.5, "ropeless": (False, True)}, "no_rope_freq"),
        ("smollm3", {"ropeless": (False, True), "rope_share": 0.5}, "partial_rotary_factor"),
        ("qwen3", {"qk_norm": True, "ropeless": (False, True)}, "no_rope_freq"),
        ("qwen2", {"qkv_bias": True, "rope_interleaved": True}, "rotary_interleaved"),
        ("gpt2", {"groups": 4, "bias": True, "qkv_bias": True, "ungated": "gelu", "window": 16}, "window_size"),
        ("llama", {"window": 16}, "window_size"),
        ("seed_oss", {"qk_norm": True}, "qk_layernorm"),
        ("mixtral", {"experts": 4, "top_k": 2, "routed_scale": 2.5}, "moe_router_topk_scaling_factor"),
        ("mixtral", {"experts": 4, "top_k": 2, "sinks": True}, "softmax_type"),
        ("mixtral", {"experts": 4, "top_k": 2, "dense": (True, False), "dense_ffn": 96}, "moe_layer_freq"),
        ("glm4_moe", {"experts": 4, "top_k": 2, "sigmoid": True, "shared_ffn": 100}, "shared_expert"),
        (
            "glm4_moe",
            {"experts": 4, "top_k": 2, "sigmoid": True, "shared_ffn": 96, "dense": (False, True), "dense_ffn": 96},
            "moe_layer_freq",
        ),
        ("deepseek_v3", {**DEEPSEEK, "epsilon": 1e-5}, "rms_norm_eps"),
        ("deepseek_v3", {**DEEPSEEK, "rope_interpolation": 2}, "rope_type"),
        ("deepseek_v3", {**DEEPSEEK, "rope_share": 0.5}, "partial_rotary_factor"),
        ("deepseek_v3", {**DEEPSEEK, "rope_interleaved": True}, "rotary_interleaved"),
        ("deepseek_v3", {**DEEPSEEK, "sinks": True}, "softmax_type"),
        ("deepseek_v3", {**DEEPSEEK, "yarn": Yarn(factor=4.0, original=4096, mscale=0.7)}, "mscale"),
        ("deepseek_v3", {**DEEPSEEK, "top_k": 8, "expert_groups": (4, 2)}, "topk_group"),
        ("deepseek_v3", {**DEEPSEEK, "expert_groups": (3, 2)}, "n_group"),
        ("qwen3_moe", {"qk_norm": True, "experts": 8, "top_k": 4, "expert_groups": (4, 2)}, "moe_router_num_groups"),
        ("mixtral", {"experts": 8, "top_k": 4, "latent": DEEPSEEK["latent"]}, "multi_latent_attention"),
    ],
)
def test_what_a_family_cannot_have_beside_its_own_is_named(family: str, change: dict[str, Any], name: str) -> None:
    """The written config.json is read back, so an argument that it cannot say is never passed over."""
    args = args_of(Model(**{**LLAMA.__dict__, "family": family, **change}))
    with pytest.raises(RefusedError, match=name.replace("_", "[-_]")):
        model_of_args(args, 111, family=family)


def test_a_family_whose_models_another_one_has_too_is_taken_where_it_is_named() -> None:
    for family, change in (("phi3", {}), ("phi3", {"window": 9}), ("seed_oss", {"qkv_bias": True}), ("ministral", {})):
        model = Model(**{**LLAMA.__dict__, "family": family, **change})
        assert model_of_args(args_of(model), 111, family=family) == model
        assert model_of_args(args_of(model), 111).family != family
    with pytest.raises(RefusedError, match=r"--family bloom is not known.*give one of llama"):
        model_of_args(args_of(LLAMA), 111, family="bloom")


def test_groups_of_experts_that_change_nothing_are_none() -> None:
    args = args_of(Model(**{**LLAMA.__dict__, **DEEPSEEK}))
    for groups, chosen in ((4, 4), (4, None), (None, None)):
        found = model_of_args({**args, "moe_router_num_groups": groups, "moe_router_group_topk": chosen}, 111)
        assert found.expert_groups is None


def test_a_number_of_layers_means_what_it_means_to_megatron() -> None:
    args = {**args_of(LLAMA), "num_layers": 4, "window_size": [15, 0], "window_attn_skip_freq": 2, "no_rope_freq": 2}
    model = model_of_args(args, 111)
    assert model.windowed == (True, False) * 2
    assert model.ropeless == (False, True) * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("moe_shared_expert_gate", False),
        ("moe_shared_expert_intermediate_size", None),
        ("add_qkv_bias", False),
        ("qk_layernorm", True),
        ("window_size", (15, 0)),
    ],
)
def test_shared_experts_are_qwen2s_or_refused(name: str, value: Any) -> None:
    shared = {"family": "qwen2_moe", "experts": 4, "top_k": 2, "qkv_bias": True, "shared_ffn": 80}
    args = args_of(Model(**{**LLAMA.__dict__, **shared})) | {name: value}
    with pytest.raises(RefusedError, match=f"--{name.replace('_', '-')} "):
        model_of_args(args, 111)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("q_lora_rank", None, "--q-lora-rank None"),
        ("qk_layernorm", False, "--qk-layernorm False"),
        ("rope_type", "rope", "--mscale-all-dim 1.5"),  # it scales the scores without YaRN too
        ("moe_router_score_function", "softmax", "--moe-router-enable-expert-bias True"),
        ("num_experts", None, "--multi-latent-attention True"),
        ("mla_down_proj_fusion", True, "--mla-down-proj-fusion True"),
        ("position_embedding_type", "yarn", "--position-embedding-type yarn"),
        ("add_bias_linear", True, "--add-bias-linear True"),
    ],
)
def test_multi_latent_attention_is_deepseeks_or_refused(name: str, value: Any, says: str) -> None:
    yarn = Yarn(factor=40.0, original=4096, mscale=0.7, mscale_all_dim=1.5)
    args = args_of(Model(**{**LLAMA.__dict__, **DEEPSEEK, "yarn": yarn}))
    assert model_of_args({**args, "kv_channels": 128, "rope_type": None}, 111).yarn == yarn  # Megatron's default
    with pytest.raises(RefusedError, match=says):
        model_of_args({**args, name: value}, 111)
