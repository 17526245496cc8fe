"""A mean of checkpoints against a reference in float64, whatever blocks the checkpoints were written in."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.convert import row_blocks, weighted_mean
from megatron_lrps.convert.torch_dist import OpenCheckpoint, open_checkpoint
from megatron_lrps.convert.torch_dist_write import Block, write_checkpoint
from megatron_lrps.convert.weighted_mean import MERGE_RECORD, plan_mean, write_mean
from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.schedule.merge import merge_weights

SHAPES = {
    "embedding.word_embeddings.weight": (96, 16),
    "decoder.layers.self_attention.linear_qkv.weight": (4, 48, 16),
    "decoder.layers.mlp.linear_fc1.layer_norm_weight": (4, 16),
    "decoder.final_layernorm.weight": (16,),
}
ARGS = {"num_layers": 4, "hidden_size": 16, "lrps_identity": "{}", "object": object}


def values(key: str, iteration: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The whole tensor of a key at an iteration: a path's weights move little from one checkpoint to the next."""
    base, moved = (
        torch.randn(SHAPES[key], generator=torch.Generator().manual_seed(random.Random(seed).randrange(2**31)))
        for seed in (key, f"{key} {iteration}")
    )
    return (base + 0.01 * base * moved).to(dtype)


def save(folder: Path, iteration: int, *, rows: int = 1000, dtype: torch.dtype = torch.bfloat16) -> Checkpoint:
    """A checkpoint in chunks of so many rows of each layer, as ranks of another layout would write it."""
    checkpoint = Checkpoint(folder, iteration)
    checkpoint.folder.mkdir(parents=True)
    blocks = []
    for key, shape in SHAPES.items():
        indexes = [(layer,) for layer in range(4)] if key.startswith("decoder.layers.") else [()]
        for index in indexes:
            last = shape[len(index)]
            blocks += [
                Block(key, shape, dtype, index, start, min(start + rows, last)) for start in range(0, last, rows)
            ]

    def read(block: Block) -> Tensor:
        return values(block.key, iteration, dtype)[block.index][block.start : block.stop]

    plain = {key: value for key, value in ARGS.items() if value is not object}
    write_checkpoint(checkpoint.folder, plain, blocks, read, {})
    return checkpoint


def whole(opened: OpenCheckpoint, key: str) -> Tensor:
    """A tensor of an open checkpoint."""
    return opened.read(key, (), 0, SHAPES[key][0])


def ulps(found: Tensor, exact: Tensor) -> float:
    """The largest distance in units of the last place of bf16, whose mantissa has 8 bits."""
    unit = 2.0 ** (torch.floor(torch.log2(exact.abs().clamp_min(1e-30))) - 7)
    return float(((found.double() - exact).abs() / unit).max())


@pytest.mark.parametrize("kind", ["mean", "ema", "1-sqrt"])
def test_a_mean_is_that_of_float64_within_an_ulp(kind: str, tmp_path: Path) -> None:
    iterations = range(100, 1100, 100)
    weights = merge_weights(kind, 10)
    mean = plan_mean([save(tmp_path / "main", each) for each in iterations], weights)
    target = Checkpoint(tmp_path / "merged", 1000)
    write_mean(mean, target)
    merged = open_checkpoint(target.folder)
    assert merged.tensors.keys() == SHAPES.keys()
    for key in SHAPES:
        exact = sum(weight * values(key, each).double() for weight, each in zip(weights, iterations, strict=True))
        assert whole(merged, key).dtype == torch.bfloat16
        assert ulps(whole(merged, key), exact) <= 1


def test_one_checkpoint_of_weight_one_stays_as_it_is(tmp_path: Path) -> None:
    write_mean(plan_mean([save(tmp_path / "main", 7)], [1.0]), Checkpoint(tmp_path / "merged", 7))
    for key in SHAPES:
        assert torch.equal(whole(open_checkpoint(tmp_path / "merged/iter_0000007"), key), values(key, 7))


def test_bits_depend_neither_on_the_layout_nor_on_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, rows, block_bytes in (("one", 1000, 2**26), ("ranks", 5, 2**26), ("mixed", 7, 96)):
        monkeypatch.setattr(row_blocks, "BLOCK_BYTES", block_bytes)
        parts = [save(tmp_path / name, each, rows=rows if each == 20 else 1000) for each in (10, 20, 30)]
        write_mean(plan_mean(parts, merge_weights("ema", 3)), Checkpoint(tmp_path / f"{name}-merged", 30))
        opened = open_checkpoint(tmp_path / f"{name}-merged/iter_0000030")
        found.append([whole(opened, key).view(torch.int16) for key in SHAPES])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_a_mean_is_a_checkpoint_that_says_what_it_is_made_of(tmp_path: Path) -> None:
    parts = [save(tmp_path / "main", each) for each in (10, 20)]
    target = Checkpoint(tmp_path / "merged", 20)
    write_mean(plan_mean(parts, [0.25, 0.75]), target)
    assert target.is_whole
    assert target.digest is not None
    made_of = json.loads((target.folder / MERGE_RECORD).read_text())["checkpoints"]
    assert made_of == [
        {"iteration": 10, "weight": 0.25, "sha256": None},
        {"iteration": 20, "weight": 0.75, "sha256": None},
    ]
    args = open_checkpoint(target.folder).args
    assert (args["hidden_size"], args["no_save_optim"], args["no_save_rng"]) == (16, True, True)


def _other_shape(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Checkpoint]:
    first = save(folder, 10)
    monkeypatch.setitem(SHAPES, "decoder.final_layernorm.weight", (32,))
    return [first, save(folder, 20)]


def _other_dtype(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Checkpoint]:
    return [save(folder, 10, dtype=torch.float32), save(folder, 20)]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            _other_shape,
            r"final_layernorm\.weight is \[16\] of torch\.bfloat16 in .*iter_0000010 and \[32\] of",
        ),
        (
            _other_dtype,
            r"of torch\.float32 in .*iter_0000010 and \[.*\] of torch\.bfloat16 in .*iter_0000020",
        ),
    ],
)
def test_checkpoints_of_two_models_are_refused(
    made: Callable[..., list[Checkpoint]], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RefusedError, match=says):
        plan_mean(made(tmp_path, monkeypatch), [0.5, 0.5])


def test_a_damaged_checkpoint_is_refused_by_its_name(tmp_path: Path) -> None:
    parts = [save(tmp_path, 10), save(tmp_path, 20)]
    (parts[0].folder / "metadata.json").unlink()
    with pytest.raises(RefusedError, match="iter_0000010 is unfinished"):
        plan_mean(parts, [0.5, 0.5])


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mean = plan_mean([save(tmp_path / "main", 10), save(tmp_path / "main", 20)], [0.5, 0.5])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weighted_mean, "take_hashes", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_mean(mean, Checkpoint(tmp_path / "merged", 20))
    assert list((tmp_path / "merged").iterdir()) == []
