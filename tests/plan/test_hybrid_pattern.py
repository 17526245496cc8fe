"""The pattern of a hybrid model's layers: what Megatron would fail at or ignore is refused by name."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan.hybrid_pattern import pattern_of, refuse_wrong_pattern
from megatron_lrps.plan.optional_packages import refuse_missing_packages
from tests.plan.plans import assert_one_clear_line, plan_of
from tests.plan.test_flags import flags_of, refused

PP = "pipeline-model-parallel-size"


@pytest.mark.parametrize(
    ("pattern", "beside", "says", "fix"),
    [
        ("*-X-", {}, "*-X- has 'X', which is no kind of layer", "use the letters * + - E M G D"),
        ("", {}, "has no layers", "write a letter for each"),
        ("*-+-", {}, "has * and + or D, and one model has one kind of attention", "use one of them"),
        ("*-/*-/*", {}, "predicts further tokens with different layers", "be the same"),
        ("*-*-", {"num-layers": 2}, "has 4 layers, and num-layers is 2", "remove num-layers"),
        ("*-", {"mtp-num-layers": 1}, "has 0 parts that predict further tokens, and mtp-num-layers is 1", "*-/*-"),
        ("*E", {}, "has E, and there is no num-experts", "give both or none"),
        ("*-", {"num-experts": 4}, "has no layer E", "give both or none"),
        ("*-*", {PP: 2}, f"has 3 layers, no multiple of {PP} 2", "where each stage begins"),
        ("*|-|*", {PP: 2}, f"has 3 stages, no multiple of {PP} 2", "change its |"),
        ("*|-*", {PP: 2, "decoder-first-pipeline-num-layers": 1}, "says where stages begin", "remove decoder-first"),
        ("*G", {}, "needs a GPU: G is a gated delta net", "launch.device: gpu"),
        ("*-/G", {}, "needs a GPU: G is a gated delta net", "launch.device: gpu"),
        ("D", {}, "needs a GPU: D is DeepSeek's sparse attention", "launch.device: gpu"),
    ],
)
def test_a_pattern_that_cannot_train_is_refused_by_name(
    pattern: str, beside: dict[str, Any], says: str, fix: str
) -> None:
    with pytest.raises(PlanError) as refusal:
        refuse_wrong_pattern({"hybrid-layer-pattern": pattern, **beside}, "megatron.", cpu=True)
    assert_one_clear_line(refusal.value, f"megatron.hybrid-layer-pattern: {pattern}", says, fix)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("use-rope-scaling", True),
        ("moe-layer-freq", [0, 1]),
        ("num-layers-per-virtual-pipeline-stage", 2),
    ],
)
def test_what_a_hybrid_model_does_not_read_is_refused(flag: str, value: Any) -> None:
    with pytest.raises(PlanError, match=f"--{flag}: .* would not be honoured beside hybrid-layer-pattern"):
        refuse_wrong_pattern({"hybrid-layer-pattern": "*-", flag: value}, "--", cpu=False)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"hidden-size": 64}, "mamba-num-heads: 2, as Megatron has it here, is no multiple of mamba-num-groups 8"),
        ({"hidden-size": 72, "mamba-head-dim": 20}, "mamba-head-dim: 20 does not divide 2 x hidden-size, 144"),
        ({"mamba-num-heads": 12}, "mamba-num-heads: 12 is no multiple of mamba-num-groups 8"),
        (
            {"mamba-num-heads": 24, "tensor-model-parallel-size": 16},
            "24 is no multiple of tensor-model-parallel-size 16",
        ),
        (
            {"mamba-num-heads": 48, "tensor-model-parallel-size": 16},
            "mamba-num-groups: 8, as Megatron has it here, is no multiple of tensor-model-parallel-size 16",
        ),
    ],
)
def test_sizes_of_mamba_layers_divide_each_other(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        refuse_wrong_pattern({"hybrid-layer-pattern": "M*", **flags}, "--", cpu=False)
    refuse_wrong_pattern({"hybrid-layer-pattern": "*-", **flags}, "--", cpu=False)


def test_norms_of_queries_and_keys_are_those_of_plain_attention_or_of_layers_of_ones_own() -> None:
    flags = {"hybrid-layer-pattern": "+-", "qk-layernorm": True}
    with pytest.raises(PlanError, match=r"--qk-layernorm: True .* hybrid layers \+ and D have no such norm"):
        refuse_wrong_pattern(flags, "--", cpu=False)
    refuse_wrong_pattern({**flags, "spec": ["my.layers", "spec"]}, "--", cpu=False)
    refuse_wrong_pattern({**flags, "hybrid-layer-pattern": "*-"}, "--", cpu=False)


@pytest.mark.parametrize(
    "flags",
    [
        {"hybrid-layer-pattern": "*-*E", "num-experts": 4},
        {"hybrid-override-pattern": "*-*-", "num-layers": 4},
        {"hybrid-layer-pattern": "*-|*-|*-|*-", PP: 2},
        {"hybrid-layer-pattern": "*-*", PP: 2, "decoder-first-pipeline-num-layers": 1},
        {"hybrid-layer-pattern": "*-/*-/*-", "mtp-num-layers": 2},
        {"hybrid-layer-pattern": "M-M*"},
        {"hybrid-layer-pattern": "M-M*", "hidden-size": 4096, "tensor-model-parallel-size": 8},
    ],
)
def test_others_pass(flags: dict[str, Any]) -> None:
    refuse_wrong_pattern(flags, "megatron.", cpu=True)
    assert pattern_of(flags) in flags.values()


def test_the_older_name_stands_for_the_flag() -> None:
    both = {"hybrid-override-pattern": "*-", "hybrid-layer-pattern": "--"}
    with pytest.raises(PlanError, match="is given beside hybrid-override-pattern, the older name"):
        refuse_wrong_pattern(both, "--", cpu=False)


def test_a_plan_is_checked() -> None:
    refused("hybrid-layer-pattern: *X has 'X'", "use the letters", megatron={"hybrid-layer-pattern": "*X"})
    assert flags_of(megatron={"hybrid-layer-pattern": "M-*-"}, launch={"device": "gpu"})["hybrid-layer-pattern"]


@pytest.mark.parametrize(("device", "package"), [("gpu", "mamba-ssm"), ("cpu", "einops")])
def test_the_package_of_a_layer_must_be_there(device: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    launch = {"device": device}
    with pytest.raises(RefusedError, match=rf"\(M\) is given, and its package {package} is not installed on node7"):
        refuse_missing_packages(plan_of(megatron={"hybrid-layer-pattern": "M-*-"}, launch=launch), "node7")
    refuse_missing_packages(plan_of(megatron={"hybrid-layer-pattern": "*-*-"}, launch=launch), "node7")
