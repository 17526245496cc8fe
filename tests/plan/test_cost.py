"""Costs by hand: iterations, model size, GPU-hours, checkpoints."""

from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.plan.cost import bytes_per_parameter, checkpoints_kept, cost_of, gpu_hours, model_size
from megatron_lrps.plan.vocabulary import Vocabulary
from tests.plan.plans import plan_of, tree_of, versions
from tests.training.harness import TINY, train

PAPER = {"versions": versions(10_000, 10_000, 10_000, 10_000), "decay": {"alpha": 0.6}}


@pytest.mark.parametrize("paradigm", ["lrps", "ptfs", "cpt"])
def test_the_papers_headline(paradigm: str) -> None:
    cost = cost_of(tree_of(**PAPER, paradigm=paradigm))
    planned = {"lrps": 58_000, "ptfs": 100_000, "cpt": 40_000}[paradigm]
    assert (cost.planned, cost.ptfs, cost.cpt) == (planned, 100_000, 40_000)
    assert cost.lrps == (58_000 if paradigm == "lrps" else None)
    assert cost.share_of_ptfs == (0.58 if paradigm == "lrps" else None)


def test_all_paradigms_together() -> None:
    cost = cost_of(tree_of(**PAPER, paradigm=["cpt", "lrps", "ptfs"]))
    assert (cost.planned, cost.lrps, cost.ptfs, cost.cpt) == (198_000, 58_000, 100_000, 40_000)


@pytest.mark.parametrize(("count", "alpha"), [(1, 0.5), (2, 0.6), (3, 0.1), (7, 0.8)])
def test_the_papers_formulas(count: int, alpha: float) -> None:
    iterations = 1000
    cost = cost_of(tree_of(versions=versions(*[iterations] * count), decay={"alpha": alpha}))
    assert cost.lrps == pytest.approx((count + (count - 1) * alpha) * iterations)
    assert cost.ptfs == count * (count + 1) // 2 * iterations
    assert cost.cpt == count * iterations


def test_versions_of_other_lengths() -> None:
    cost = cost_of(tree_of(versions=versions(100, 300), decay={"alpha": 0.5}))
    assert (cost.lrps, cost.ptfs, cost.cpt) == (250 + 50 + 150, 100 + 400, 400)


def test_explicit_paths_cost_what_they_train() -> None:
    trunk: dict[str, Any] = {"name": "trunk", "end": 800, "schedule": [{"kind": "hold"}]}
    cool = {"name": "a", "parent": "trunk", "fork": 600, "end": 900, "schedule": [{"kind": "linear", "until": 900}]}
    cost = cost_of(tree_of(paths=[trunk, cool]))
    assert (cost.planned, cost.lrps, cost.share_of_ptfs) == (800 + 300, None, None)


def test_checkpoints_kept_are_forks_and_ends() -> None:
    assert checkpoints_kept(tree_of(**PAPER)) == 8  # 4 forks, 4 ends; main ends at the last fork
    assert checkpoints_kept(tree_of(**PAPER, paradigm="ptfs")) == 4
    assert checkpoints_kept(tree_of(**PAPER, paradigm="cpt")) == 4  # each end is the next one's fork


def size_of(sequence: int = 16, tokenizer: dict[str, Any] | None = None, **flags: Any) -> Any:
    megatron = {key.replace("_", "-"): value for key, value in flags.items()}
    return model_size(plan_of(sequence_length=sequence, megatron=megatron, tokenizer=tokenizer))


def test_a_small_model_by_hand() -> None:
    size = size_of(num_layers=2, hidden_size=8, num_attention_heads=2, tokenizer={"vocab_size": 100})  # padded to 128
    attention = 8 * 8 + 2 * 8 * 8 + 8 * 8  # Q, K and V, projection
    mlp = 2 * 8 * 32
    norms = 2 * 2 * 8 + 8
    assert size.parameters == 2 * (attention + mlp) + 128 * 8 + norms == 2600
    scores = 2 * 2 * 8 * 16 // 2  # QK^T and AV of two layers, causal
    assert size.flops_per_sample == 3 * 2 * 16 * (2 * (attention + mlp) + scores + 128 * 8) == 270_336


def test_a_vocabulary_to_be_trained_counts() -> None:
    known = size_of(num_layers=1, hidden_size=8, tokenizer={"vocab_size": 300})
    assert size_of(num_layers=1, hidden_size=8, tokenizer={"model": "m", "train": {"vocab_size": 300}}) == known


def test_the_vocabulary_is_what_the_caller_knows_or_the_plan_says_and_it_is_padded_for_tp() -> None:
    flags = {"num-layers": 1, "hidden-size": 8}
    plan = plan_of(megatron=flags, tokenizer={"vocab_size": 300})
    by_plan, by_file = model_size(plan), model_size(plan, Vocabulary(1024))
    assert by_plan
    assert by_file
    assert (by_plan.vocabulary, by_file.vocabulary) == (Vocabulary(384), Vocabulary(1024))
    assert by_file.parameters - by_plan.parameters == (1024 - 384) * 8
    wide = model_size(plan_of(megatron=flags | {"tensor-model-parallel-size": 4}, tokenizer={"vocab_size": 300}))
    assert wide
    assert wide.vocabulary == Vocabulary(512)


def test_an_8b_with_a_vocabulary_of_128k_by_its_save() -> None:
    """Llama 3 8B untied: 2 x 4,096 x (128,256 - 32,768) parameters more than with the vocabulary assumed before."""
    flags = {"num_layers": 32, "hidden_size": 4096, "untie_embeddings_and_output_weights": True, "bf16": True}
    known, unknown = size_of(**flags, tokenizer={"vocab_size": 128256}), size_of(**flags)
    assert (known.vocabulary.assumed, unknown.vocabulary.assumed) == (False, True)
    assert known.checkpoint_bytes - unknown.checkpoint_bytes == 2 * 4096 * 95_488 * 14


def test_llama_2_7b_exactly() -> None:
    size = size_of(
        sequence=4096,
        num_layers=32,
        hidden_size=4096,
        num_attention_heads=32,
        ffn_hidden_size=11008,
        swiglu=True,
        untie_embeddings_and_output_weights=True,
        tokenizer={"vocab_size": 32000},
    )
    assert size.parameters == 6_738_415_616
    tokens = size.flops_per_sample / 4096
    assert 6 * 6.6e9 < tokens < 6 * 7.8e9  # the usual 6 N a token, and attention on top


def test_llama_3_8b_exactly_with_grouped_queries() -> None:
    size = size_of(
        num_layers=32,
        hidden_size=4096,
        num_attention_heads=32,
        group_query_attention=True,
        num_query_groups=8,
        ffn_hidden_size=14336,
        swiglu=True,
        untie_embeddings_and_output_weights=True,
        tokenizer={"vocab_size": 128256},
    )
    assert size.parameters == 8_030_261_248


def test_megatrons_default_ffn_is_narrower_with_swiglu() -> None:
    # 4 * 2048 * 2 / 3 = 5461.3, down to a multiple of 64: 5440
    default = size_of(num_layers=1, hidden_size=2048, num_attention_heads=16, swiglu=True)
    assert default == size_of(num_layers=1, hidden_size=2048, num_attention_heads=16, swiglu=True, ffn_hidden_size=5440)
    plain = size_of(num_layers=1, hidden_size=2048, num_attention_heads=16)
    assert plain == size_of(num_layers=1, hidden_size=2048, num_attention_heads=16, ffn_hidden_size=8192)


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"num_layers": 2},
        {"hidden_size": 8},
        {"num_layers": True, "hidden_size": 8},
        {"num_layers": 2, "hidden_size": 8, "num_experts": 4},
        {"num_layers": 2, "hidden_size": 8, "multi_latent_attention": True},
    ],
)
def test_a_model_that_the_plan_does_not_name_has_no_size(flags: dict[str, Any]) -> None:
    assert size_of(**flags) is None


def test_gpu_hours() -> None:
    plan = plan_of(megatron={"num-layers": 2, "hidden-size": 8})
    size = model_size(plan)
    assert size
    # 8 samples an iteration; at the rate of one iteration a second, 3600 iterations are an hour
    teraflops = 8 * size.flops_per_sample / 1e12
    assert gpu_hours(3600 * 8, size, teraflops) == pytest.approx(1.0)
    assert gpu_hours(7200 * 8, size, teraflops * 4) == pytest.approx(0.5)


PRECISIONS: list[tuple[str, int]] = [
    ("", 4 + 8),
    ("--use-distributed-optimizer", 4 + 4 + 8),
    ("--bf16", 2 + 4 + 8),
    ("--bf16 --use-distributed-optimizer", 2 + 4 + 8),
    ("--fp16", 2 + 4 + 8),
    ("--optimizer sgd", 4 + 4),
    ("--bf16 --no-save-optim", 2),
]


@pytest.mark.parametrize(("flags", "size"), PRECISIONS)
def test_bytes_of_a_checkpoint(flags: str, size: int) -> None:
    assert bytes_per_parameter(plan_of(megatron=megatron_of(flags))) == size


def megatron_of(line: str) -> dict[str, Any]:
    flags = [each.split() for each in line.split("--") if each]
    return {name: int(values[0]) if values and values[0].isdigit() else [*values, True][0] for name, *values in flags}


@pytest.mark.training
@pytest.mark.parametrize(("flags", "size"), [PRECISIONS[0], PRECISIONS[1], PRECISIONS[3]])
def test_a_real_checkpoint_takes_that_much(tmp_path: Path, flags: str, size: int) -> None:
    shape = "--num-layers 2 --hidden-size 128 --num-attention-heads 4 --disable-bias-linear"
    model = model_size(plan_of(megatron=megatron_of(f"{shape} {flags}"), tokenizer={"vocab_size": 16000}))
    assert model
    line = f"{shape} --normalization RMSNorm --position-embedding-type rope --vocab-size 16000 {flags}"
    base = TINY.replace("--bf16 --use-distributed-optimizer", "")
    saved = f"--mock-data --train-iters 1 --save {tmp_path / 'saved'} --save-interval 1"
    done = train(tmp_path, f"{line} {saved}", base=base)
    assert f"(0, 0, 0): {model.parameters}\n" in done.logs[0]
    taken = sum(file.stat().st_size for file in (tmp_path / "saved/iter_0000001").iterdir())
    assert taken == pytest.approx(model.parameters * size, rel=0.02)
    assert model.checkpoint_bytes == model.parameters * size
