"""Weights for Megatron again: one file, or a checkpoint of another layout; whole or not at all."""

from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION
from megatron_lrps.convert.layout import Layout
from megatron_lrps.convert.megatron_export import (
    FILE,
    PlannedWeights,
    plan_weights,
    write_torch,
    write_torch_dist,
)
from megatron_lrps.convert.torch_dist import OpenCheckpoint, open_checkpoint
from megatron_lrps.errors import RefusedError, StorageError

QKV = "decoder.layers.self_attention.linear_qkv.weight"
NORM = "decoder.layers.self_attention.linear_qkv.layer_norm_weight"
WORDS = "embedding.word_embeddings.weight"


def nothing(hidden: Path) -> None:
    """Puts nothing beside the weights."""


def planned(folder: Path, *, vocab: int = 111, dtype: str | None = None, **sizes: int) -> PlannedWeights:
    return plan_weights(open_checkpoint(folder), vocab=vocab, layout=Layout(**sizes), dtype=dtype)


def load(target: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(target / FILE, weights_only=True)
    return content


def test_one_file_has_the_names_of_one_rank(saved: Path, tmp_path: Path) -> None:
    done = write_torch(planned(saved), tmp_path / "v1", around=nothing)
    content = load(tmp_path / "v1")
    opened = open_checkpoint(saved)
    assert content["args"]["num_layers"] == 4
    assert content["args"]["padded_vocab_size"] == 128  # of 1,024 rows; 111 tokens
    model = content["model"]
    assert done.tensors == len(model) == 4 * 6 + 3
    for layer in range(4):
        name = f"decoder.layers.{layer}.self_attention.linear_qkv."
        assert torch.equal(model[f"{name}weight"], opened.read(QKV, (layer,), 0, 128))
        assert torch.equal(model[f"{name}layer_norm_weight"], opened.read(NORM, (layer,), 0, 64))
    assert torch.equal(model[WORDS], opened.read(WORDS, (), 0, 128))
    assert torch.equal(torch.load(tmp_path / "v1" / FILE, mmap=True)["model"][WORDS], model[WORDS])


def test_names_are_those_of_the_layer_spec_that_was_trained(saved: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(saved)
    experts = {**opened.tensors, "decoder.layers.mlp.experts.experts.linear_fc1.weight": opened.tensors[QKV]}
    local = OpenCheckpoint(saved, {**opened.args, "transformer_impl": "local"}, experts)
    write_torch(plan_weights(local, vocab=111, layout=Layout()), tmp_path / "local", around=nothing)
    names = load(tmp_path / "local")["model"].keys()
    assert {"decoder.layers.3.input_layernorm.weight", "decoder.layers.3.pre_mlp_layernorm.weight"} <= names
    assert "decoder.layers.3.mlp.experts.local_experts.127.linear_fc1.weight" in names
    grouped = OpenCheckpoint(saved, {**opened.args, "moe_grouped_gemm": True}, experts)
    write_torch(plan_weights(grouped, vocab=111, layout=Layout()), tmp_path / "grouped", around=nothing)
    names = load(tmp_path / "grouped")["model"].keys()
    assert "decoder.layers.3.mlp.experts.linear_fc1.weight127" in names
    other = OpenCheckpoint(saved, opened.args, {**opened.tensors, "mtp.layers.0.weight": opened.tensors[QKV]})
    with pytest.raises(RefusedError, match=r"mtp\.layers\.0\.weight, which has no known name in a single file"):
        write_torch(plan_weights(other, vocab=111, layout=Layout()), tmp_path / "other", around=nothing)


def test_a_checkpoint_for_another_layout_has_its_arguments_and_padding(saved: Path, tmp_path: Path) -> None:
    write_torch_dist(planned(saved, tensor=2, pipeline=4, dtype="bf16"), tmp_path / "v1", around=nothing)
    before, after = open_checkpoint(saved), open_checkpoint(tmp_path / "v1" / WITHOUT_ITERATION)
    expected = {
        "tensor_model_parallel_size": 2,
        "pipeline_model_parallel_size": 4,
        "world_size": 8,
        "padded_vocab_size": 256,
        "num_layers": 4,
        "bf16": True,
    }
    assert {key: after.args[key] for key in expected} == expected
    flags = planned(saved).flags
    assert flags[2:] == ["--norm-epsilon", "1e-06", "--use-rope-scaling"]  # which Megatron does not take over
    assert after.tensors[WORDS].shape == (256, 64)
    assert after.states.keys() == before.states.keys()
    for key, index, rows in ((QKV, (3,), 128), (WORDS, (), 256)):
        assert torch.equal(after.read(key, index, 0, rows), before.read(key, index, 0, rows).bfloat16())


def test_rows_for_no_token_are_those_that_training_pushed_down_or_the_mean(saved: Path) -> None:
    opened = open_checkpoint(saved)
    wide = OpenCheckpoint(saved, {**opened.args, "make_vocab_size_divisible_by": 512}, opened.tensors)
    for vocab in (1000, 1024):
        weights = plan_weights(wide, vocab=vocab, layout=Layout(tensor=4))  # 512 x 4 = 2,048 rows
        words = torch.cat([weights.read(block) for block in weights.blocks if block.key == WORDS])
        before = opened.read(WORDS, (), 0, 1024)
        row = before[1023] if vocab == 1000 else before.double().mean(0).float()
        assert torch.equal(words, torch.cat([before, row.expand(1024, -1)]))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"pipeline": 3}, "--pipeline-parallel 3 does not divide num_layers 4"),
        ({"tensor": 8}, "--tensor-parallel 8 does not divide num_attention_heads 4"),
        ({"expert": 2}, "--expert-parallel is 2, but the model has no experts"),
        ({"expert_tensor": 2}, "--expert-tensor-parallel is 2, but the model has no experts"),
        ({"vocab": 1025}, "The tokenizer has 1025 tokens, but the word embedding .* has 1024 rows"),
    ],
)
def test_a_layout_that_does_not_divide_the_model_is_refused(saved: Path, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        planned(saved, **sizes)


def test_a_state_that_would_run_code_is_not_copied(saved: Path) -> None:
    opened = open_checkpoint(saved)
    key, chunk = next(iter(opened.states.items()))
    with (saved / chunk.file).open("r+b") as file:
        file.seek(chunk.begin)
        file.write(b"\0" * chunk.length)
    with pytest.raises(RefusedError, match=f"is damaged at {key}"):
        opened.read_state(key)


@pytest.mark.parametrize("write", [write_torch, write_torch_dist])
def test_a_full_disk_leaves_nothing(write: Any, saved: Path, disk: Path) -> None:
    weights = planned(saved, dtype="fp32")

    def fill(hidden: Path) -> None:
        (disk / "filler").write_bytes(b"x" * 200_000)

    with pytest.raises(StorageError, match="No space left on device"):
        write(weights, disk / "v1", around=fill)
    assert [entry.name for entry in disk.iterdir()] == ["filler"]
    with pytest.raises(StorageError, match="GiB are free"):
        write(weights, disk / "v1", around=nothing)
