"""Arguments that have no Hugging Face counterpart are refused by name; those that have are read alike."""

from typing import Any

import pytest

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.model_arguments import args_of, model_of_args
from megatron_lrps.convert.model_flags import flags_of, plan_lines, refuse_other_plan
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan

LLAMA = Model(
    family="llama",
    layers=2,
    hidden=64,
    ffn=96,
    heads=4,
    groups=2,
    head_dim=16,
    vocab=111,
    positions=32,
    epsilon=1e-5,
    tied=False,
)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"family": "mistral", "window": 16},
        {"family": "qwen2", "qkv_bias": True},
        {"family": "qwen3", "qk_norm": True, "head_dim": 32},
        {"family": "mixtral", "experts": 4, "top_k": 2},
        {"family": "qwen3_moe", "experts": 8, "top_k": 3, "qk_norm": True, "renormalise": False},
        {"family": "qwen2_moe", "experts": 8, "top_k": 3, "qkv_bias": True, "shared_ffn": 80, "renormalise": False},
        {"family": "gpt2", "groups": 4, "bias": True, "qkv_bias": True, "gelu": "gelu_new"},
        {"bias": True, "qkv_bias": True, "tied": True},
        {"rope_factor": 8.0, "rope_base": 500000.0},
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
        ("rotary_percent", 0.5),
        ("rotary_interleaved", True),
        ("layernorm_zero_centered_gamma", True),
        ("softmax_type", "learnable"),
        ("no_rope_freq", [0, 1]),
        ("moe_layer_freq", [0, 1]),
        ("normalization", "LayerNorm"),
        ("position_embedding_type", "yarn"),
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


def _plan(**megatron: Any) -> Plan:
    return Plan.model_validate(
        {
            "campaign": "c",
            "save": ".",
            "sequence_length": 32,
            "global_batch_size": 4,
            "versions": [{"name": "v1", "iters": 8, "train": [[1.0, "a"]]}],
            "megatron": megatron,
        }
    )


def test_a_plan_of_another_model_is_refused_with_the_lines_that_fit() -> None:
    model = Model(**{**LLAMA.__dict__, "rope_base": 500000.0, "epsilon": 1e-6})
    lines = plan_lines(model, "weights")
    assert lines == [
        "num-layers: 2",
        "hidden-size: 64",
        "ffn-hidden-size: 96",
        "num-attention-heads: 4",
        "group-query-attention: true",
        "num-query-groups: 2",
        "norm-epsilon: 1.0e-06",
        "normalization: RMSNorm",
        "position-embedding-type: rope",
        "rotary-base: 500000",
        "swiglu: true",
        "disable-bias-linear: true",
        "untie-embeddings-and-output-weights: true",
        "pretrained-checkpoint: weights",
    ]
    fitting = {flag: value for flag, value in flags_of(model).items() if value is not False}
    refuse_other_plan(_plan(**fitting), model, "weights", "m")
    for flag in ("rotary-base", "untie-embeddings-and-output-weights", "norm-epsilon"):
        without = {key: value for key, value in fitting.items() if key != flag}
        with pytest.raises(RefusedError, match=f"of another model: {flag} is .*, m has "):
            refuse_other_plan(_plan(**without), model, "weights", "m")
    with pytest.raises(RefusedError, match="qk-layernorm is true, m has false"):
        refuse_other_plan(_plan(**fitting, **{"qk-layernorm": True}), model, "weights", "m")


def test_gpt2s_activation_is_not_the_cpu_backends() -> None:
    model = Model(
        **{**LLAMA.__dict__, "family": "gpt2", "groups": 4, "bias": True, "qkv_bias": True, "gelu": "gelu_new"}
    )
    plan = _plan(**{flag: value for flag, value in flags_of(model).items() if value is not False})
    refuse_other_plan(plan, model, "weights", "m")
    on_cpu = plan.model_copy(update={"launch": plan.launch.model_copy(update={"device": "cpu"})})
    with pytest.raises(RefusedError, match="no-bias-gelu-fusion is true, m has false"):
        refuse_other_plan(on_cpu, model, "weights", "m")
