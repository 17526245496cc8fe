"""Megatron-LM's configurations: the rule that shrinks them, and the page that says what came of them."""

import json
from pathlib import Path

import pytest

from tests.flags import try_configurations
from tests.flags.configurations import Configuration, shrunken
from tests.flags.try_configurations import (
    BY_PLAN,
    NOT_YET,
    OUTCOMES,
    PAGE,
    RESULTS,
    TRAINED,
    in_order_of_news,
    plan_hash,
    section,
    with_section,
)

GIVEN = {
    "num-layers": 24,
    "hidden-size": 2048,
    "tensor-model-parallel-size": 4,
    "pipeline-model-parallel-size": 2,
    "expert-model-parallel-size": 8,
    "num-experts": 64,
    "moe-router-topk": 6,
    "moe-layer-freq": "([0]*3+[1]*21)",
    "recompute-modules": "[core_attn moe]",
    "transformer-impl": "transformer_engine",
    "train-iters": 100,
    "lr": 1e-4,
    "data-path": "${DATA}",
    "finetune": True,
    "swiglu": True,
    "async-save": True,
}


def test_the_rule_keeps_what_a_configuration_is_about() -> None:
    found = shrunken("moe/a", GIVEN)
    assert found.ranks == 4  # 2 of tensor, 2 of pipeline; two ranks of a stage share the experts
    assert found.flags == {
        "num-layers": 4,
        "hidden-size": 64,
        "tensor-model-parallel-size": 2,
        "pipeline-model-parallel-size": 2,
        "expert-model-parallel-size": 2,
        "expert-tensor-parallel-size": 1,
        "num-experts": 4,
        "moe-router-topk": 2,
        "moe-layer-freq": [0, 1, 1, 1],
        "recompute-modules": ["core_attn", "moe"],
        "transformer-impl": "local",
        "swiglu": True,
    }


def test_one_rank_saves_in_the_background() -> None:
    found = shrunken("gpt/a", {"async-save": True, "use-persistent-ckpt-worker": True})
    assert found == ("gpt/a", {**found.flags, "async-save": True, "async-strategy": "mcore"}, 1)
    assert found.flags["use-persistent-ckpt-worker"] is True


def test_equal_plans_are_one_and_the_newest_comes_first() -> None:
    plans = {
        "a": Configuration("gpt/a", {"swiglu": True}, 1),
        "b": Configuration("gpt/b", {"swiglu": True, "bf16": True, "fp16": False}, 2),
        "c": Configuration("gpt/c", {"swiglu": False, "bf16": True}, 1),
    }
    assert list(in_order_of_news(plans)) == ["c", "a", "b"]  # 2 new ones, then 1, then half a one for each rank
    assert plan_hash(plans["a"]) == plan_hash(plans["a"]._replace(name="moe/other"))
    assert plan_hash(plans["a"]) != plan_hash(plans["a"]._replace(ranks=2))


def test_results_are_kept_as_they_come_and_known_ones_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is left out here: what a plan's outcome is worth is tested by its trial."""
    folder = tmp_path / "tests" / "functional_tests" / "test_cases" / "gpt"
    for name, flags in (("a", {"swiglu": True}), ("b", {"swiglu": True}), ("c", {"fp8-format": "hybrid"}), ("d", {})):
        (folder / name).mkdir(parents=True)
        (folder / name / "model_config.yaml").write_text(json.dumps({"MODEL_ARGS": {"--num-layers": 2, **flags}}))
    tried: list[str] = []

    def outcome(each: Configuration, plan: Path) -> dict[str, str]:
        tried.append(each.name)
        return {"outcome": TRAINED, "says": ""}

    monkeypatch.setattr(try_configurations, "_outcome", outcome)
    kept: list[int] = []

    def keep(results: try_configurations.Results) -> None:
        kept.append(sum(each["outcome"] == TRAINED for each in results.values()))

    found = try_configurations.try_all(tmp_path, tmp_path, 60, {}, keep)
    assert tried == ["gpt/a", "gpt/d"]
    assert kept == [0, 2, 3]
    assert found["gpt/c"]["outcome"] == BY_PLAN
    assert try_configurations.try_all(tmp_path, tmp_path, 60, found, lambda _: None) == found
    assert tried == ["gpt/a", "gpt/d"]


def test_the_section_counts_each_kind() -> None:
    made = section(
        {
            "gpt/a": {"outcome": TRAINED, "says": ""},
            "gpt/b": {"outcome": BY_PLAN, "says": "megatron.fp8-format: hybrid needs a GPU: Transformer Engine's"},
            "moe/c": {"outcome": NOT_YET, "says": ""},
        }
    ).splitlines()
    assert "| gpt | 1 | 1 | 0 |" in made
    assert "| all | 1 | 1 | 1 |" in made
    assert made[-1] == "| `fp8-format`: needs a GPU | 1 |"


def test_the_page_is_up_to_date_and_no_configuration_ends_unexplained() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert with_section(page, results) == page, "run python -m tests.flags.try_configurations CHECKOUT"
    assert {found["outcome"] for found in results.values()} <= set(OUTCOMES) - {"failed"}
    assert all(found["says"] for found in results.values() if found["outcome"] == BY_PLAN)
