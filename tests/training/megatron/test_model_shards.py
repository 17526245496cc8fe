"""Megatron's verdict on layouts, and shards of a model whose size a reader can add up; one process checks them all."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.training

WORLD = 16
# A layer: QKV 3 x 64 x 64, projection 64 x 64, MLP 64 x 256 twice, two RMSNorms of 64.
LAYER = 4 * 64 * 64 + 2 * 64 * 256 + 2 * 64
EMBEDDING = 256 * 64

MODEL = {
    "num-layers": 8,
    "hidden-size": 64,
    "num-attention-heads": 8,
    "seq-length": 32,
    "max-position-embeddings": 32,
    "micro-batch-size": 2,
    "global-batch-size": 64,
    "lr": 1e-3,
    "train-iters": 10,
    "tokenizer-type": "NullTokenizer",
    "vocab-size": 256,
    "eval-iters": 0,
}
SWITCHES = ("bf16", "disable-bias-linear", "untie-embeddings-and-output-weights", "use-distributed-optimizer")
ROPE = ("--position-embedding-type", "rope", "--normalization", "RMSNorm")


def line(*switches: str, **flags: object) -> list[str]:
    named = MODEL | {key.replace("_", "-"): value for key, value in flags.items()}
    pairs = [text for flag, value in named.items() for text in (f"--{flag}", str(value))]
    return [*pairs, *ROPE, *(f"--{switch}" for switch in (*SWITCHES, *switches))]


TP, PP, CP = "tensor_model_parallel_size", "pipeline_model_parallel_size", "context_parallel_size"
# A batch of its own for validation, as a plan with validation sets has it.
VALIDATED = {"eval_micro_batch_size": 1, "eval_global_batch_size": 16}
VIRTUAL = {PP: 4, "num_layers_per_virtual_pipeline_stage": 1}
LINES = {
    "one": line(),
    "tp2-pp4": line(**{TP: 2, PP: 4}),
    "virtual": line(**VIRTUAL),
    "few": line(global_batch_size=16, **VIRTUAL),
    "rest": line(global_batch_size=48, **VIRTUAL),
    "evaluated": line("full-validation", "multiple-validation-sets", **VIRTUAL),
    "evaluated-few": line("full-validation", "multiple-validation-sets", eval_global_batch_size=8, **VIRTUAL),
    "padded": line(vocab_size=257, **{TP: 2}),
    "fp8": line("sequence-parallel", fp8_format="hybrid", fp8_recipe="delayed", **{TP: 2, CP: 2}),
    "tensorwise": line(fp8_format="hybrid", fp8_recipe="tensorwise"),
    "blockwise": line(fp8_format="hybrid", fp8_recipe="blockwise"),
    "experts": line(num_experts=4, expert_model_parallel_size=4, moe_ffn_hidden_size=256),
    "world": line(**{TP: 3}),
    "heads": line(num_attention_heads=4, **{TP: 8}),
    "layers": line(**{PP: 16}),
    "virtual-layers": line(num_layers=12, **{PP: 4, "num_layers_per_virtual_pipeline_stage": 2}),
    "batch": line(global_batch_size=40, **{TP: 2}, **VALIDATED),
    "micro": line(micro_batch_size=3, **VALIDATED),
    "eval-batch": line(global_batch_size=40),
    "no-message": line(num_attention_heads=7),
    "unknown": line("tensor-parallel"),
    "reshardable": line("overlap-grad-reduce", "dist-ckpt-optim-fully-reshardable"),
}


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "megatron_lrps.training.megatron.model_shards"],
        input=json.dumps({"world_size": WORLD, "lines": LINES, "vocabulary": None}),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert set(answer["paths"]) == set(LINES)
    found: dict[str, Any] = answer["paths"]
    return found


def parameters(answer: dict[str, Any]) -> list[int]:
    return [shard["parameters"] for shard in answer["shards"]]


def test_one_rank_holds_the_whole_model(answers: dict[str, Any]) -> None:
    one = answers["one"]
    assert parameters(one) == [8 * LAYER + 2 * EMBEDDING + 64]
    assert one["layout"] == {"TP": 1, "PP": 1, "VPP": 1, "CP": 1, "EP": 1, "DP": 16}
    assert one["microbatches"] == 64 // (2 * 16)
    assert one["vocabulary"] == 256
    assert one["unproven"] == []
    # 6 bytes of weights and gradients, and 12 of the optimizer's over 16 ranks; the report knows all but nothing else
    assert one["memory"]["weights_and_optimizer"] == pytest.approx(parameters(one)[0] * (6 + 12 / 16), rel=1e-6)


def test_stages_hold_their_layers_and_the_ends_an_embedding_each(answers: dict[str, Any]) -> None:
    shards = answers["tp2-pp4"]["shards"]
    assert [(shard["stage"], shard["rank"]) for shard in shards] == [(0, 0), (2, 8), (3, 12)]
    # Norms are whole on every tensor rank: two a layer, and the last one after all layers.
    stage = 2 * ((LAYER - 128) // 2 + 128)
    assert parameters(answers["tp2-pp4"]) == [stage + EMBEDDING // 2, stage, stage + EMBEDDING // 2 + 64]
    assert answers["tp2-pp4"]["layout"]["DP"] == 2
    assert answers["tp2-pp4"]["microbatches"] == 64 // (2 * 2)


def test_virtual_stages_are_added_up(answers: dict[str, Any]) -> None:
    assert answers["virtual"]["layout"]["VPP"] == 2
    assert parameters(answers["virtual"]) == [2 * LAYER + EMBEDDING, 2 * LAYER, 2 * LAYER + EMBEDDING + 64]


def test_each_stage_evaluates_before_a_layout_is_accepted(answers: dict[str, Any]) -> None:
    """Under virtual stages, which each have a list of the sets; test_rehearsal.py has what would show."""
    assert parameters(answers["evaluated"]) == parameters(answers["virtual"])


def test_the_vocabulary_is_padded_for_the_tensor_ranks(answers: dict[str, Any]) -> None:
    assert answers["padded"]["vocabulary"] == 512  # the next multiple of 128 x TP


def test_what_only_transformer_engine_runs_is_named_and_not_counted(answers: dict[str, Any]) -> None:
    fp8 = answers["fp8"]
    assert fp8["unproven"] == ["--fp8-format", "--context-parallel-size"]
    assert fp8["layout"] == {"TP": 2, "PP": 1, "VPP": 1, "CP": 2, "EP": 1, "DP": 4}
    assert parameters(fp8) == [8 * ((LAYER - 128) // 2 + 128) + EMBEDDING + 64]


@pytest.mark.parametrize("recipe", ["tensorwise", "blockwise"])
def test_each_recipe_of_fp8_is_accepted(answers: dict[str, Any], recipe: str) -> None:
    assert answers[recipe]["unproven"] == ["--fp8-format"]
    assert parameters(answers[recipe]) == parameters(answers["one"])


def test_an_expert_of_four_is_on_each_rank(answers: dict[str, Any]) -> None:
    router = 4 * 64
    assert parameters(answers["experts"]) == [8 * (LAYER + router) + 2 * EMBEDDING + 64]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("world", "world size (16) is not divisible by total_model_size (total_model_size=3)"),
        ("heads", "num_attention_heads (4) must be a multiple of tensor_model_parallel_size (8)"),
        ("layers", "Number of layers should be divisible by the pipeline-model-parallel size"),
        ("virtual-layers", "number of layers per pipeline stage must be divisible"),
        ("batch", "global batch size (40) is not divisible by micro batch size (2) times data parallel size (8)"),
        ("micro", "global batch size (64) is not divisible by micro batch size (3) times data parallel size (16)"),
        (
            "eval-batch",
            "eval_global_batch_size (40) must be divisible by eval_micro_batch_size (2) * data_parallel_size",
        ),
        ("no-message", "it needs hidden_size % num_attention_heads == 0; hidden-size is 64, num-attention-heads is 7"),
    ],
)
def test_megatrons_own_message(answers: dict[str, Any], name: str, message: str) -> None:
    assert message in answers[name]["error"]
    assert "fix" not in answers[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        # On 4 replicas, 2 samples at a time: 16 / 8 and 48 / 8.
        ("few", "2 micro-batches an iteration, and virtual stages take them in groups of 4"),
        ("rest", "6 micro-batches an iteration, and virtual stages take them in groups of 4"),
        ("evaluated-few", "--eval-global-batch-size 8: Each pipeline has 2 micro-batches an iteration"),
    ],
)
def test_what_megatron_would_refuse_in_training_only(answers: dict[str, Any], name: str, message: str) -> None:
    assert message in answers[name]["error"]
    assert answers[name]["fix"]


def test_a_flag_that_does_not_exist_brings_the_nearest_one(answers: dict[str, Any]) -> None:
    assert "unrecognized arguments: --tensor-parallel" in answers["unknown"]["error"]
    assert answers["unknown"]["fix"] == "did you mean --tensor-model-parallel-size?"


def test_the_plugins_own_refusal_brings_its_fix(answers: dict[str, Any]) -> None:
    assert "--overlap-grad-reduce cuts the gradients into buckets" in answers["reshardable"]["error"]
    assert answers["reshardable"]["fix"].startswith("drop --dist-ckpt-optim-fully-reshardable")
