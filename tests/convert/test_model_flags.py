"""A plan that would build another model than the weights belong to is refused with the lines that fit."""

from typing import Any

import pytest
from convert.models import LLAMA_MODEL as LLAMA

from megatron_lrps.convert.architecture import Latent, Model, Yarn
from megatron_lrps.convert.model_flags import flags_of, plan_lines, refuse_other_plan
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan


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
        **{**LLAMA.__dict__, "family": "gpt2", "groups": 4, "bias": True, "qkv_bias": True, "ungated": "gelu_new"}
    )
    plan = _plan(**{flag: value for flag, value in flags_of(model).items() if value is not False})
    refuse_other_plan(plan, model, "weights", "m")
    on_cpu = plan.model_copy(update={"launch": plan.launch.model_copy(update={"device": "cpu"})})
    with pytest.raises(RefusedError, match="no-bias-gelu-fusion is true, m has false"):
        refuse_other_plan(on_cpu, model, "weights", "m")


def test_multi_latent_attention_has_flags_of_its_own() -> None:
    latent = Latent(queries=24, keys=32, plain=128, turned=64, value=12)
    yarn = Yarn(factor=40.0, original=4096, mscale_all_dim=1.0)
    change = {"family": "deepseek_v3", "groups": 4, "head_dim": 192, "qk_norm": True, "epsilon": 1e-6, "latent": latent}
    change |= {"experts": 8, "top_k": 4, "sigmoid": True, "shared_ffn": 96, "expert_groups": (4, 2), "yarn": yarn}
    model = Model(**{**LLAMA.__dict__, **change})
    lines = plan_lines(model, "weights")
    assert [line for line in lines if line.split("-")[0] in ("multi", "q", "kv", "qk", "v", "rope", "mscale")] == [
        "mscale-all-dim: 1.0",
        "multi-latent-attention: true",
        "q-lora-rank: 24",  # the others that are not here have Megatron's defaults
        "v-head-dim: 12",
        "qk-layernorm: true",
    ]
    assert "moe-router-num-groups: 4" in lines
    fitting = {flag: value for flag, value in flags_of(model).items() if value is not False}
    refuse_other_plan(_plan(**fitting), model, "weights", "m")
    for flag, other in (("v-head-dim", 128), ("rope-type", "rope"), ("moe-router-group-topk", 1), ("mscale", 0.7)):
        with pytest.raises(RefusedError, match=f"of another model: {flag} is {other}, m has "):
            refuse_other_plan(_plan(**{**fitting, flag: other}), model, "weights", "m")
    with pytest.raises(RefusedError, match="multi-latent-attention is true, m has false"):
        refuse_other_plan(_plan(**fitting), Model(**LLAMA.__dict__), "weights", "m")
