"""A mean of checkpoints against a reference in float64, whatever blocks the checkpoints were written in."""

import errno
import itertools
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.manifest import damaged_contents
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_mean_has_the_bits_of_megatron_lms_weighted_merge(dtype: torch.dtype, tmp_path: Path) -> None:
    # tools/checkpoint/weighted_merge.py adds whole shards up in fp32: accumulator.add_(tensor.float(), alpha=weight).
    weights = merge_weights("1-sqrt", 3)
    parts = [save(tmp_path / "main", each, rows=7, dtype=dtype) for each in (10, 20, 30)]
    write_mean(plan_mean(parts, weights), Checkpoint(tmp_path / "merged", 30))
    merged = open_checkpoint(tmp_path / "merged/iter_0000030")
    for key, shape in SHAPES.items():
        total = torch.zeros(shape)
        for weight, each in zip(weights, (10, 20, 30), strict=True):
            total.add_(values(key, each, dtype).float(), alpha=weight)
        assert torch.equal(whole(merged, key), total.to(dtype))


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


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"holds torch\.int32, and a mean needs floating-point numbers"):
        plan_mean([save(tmp_path, each, dtype=torch.int32) for each in (10, 20)], [0.5, 0.5])


def write_until(change: int, parts: Sequence[Checkpoint], target: Checkpoint) -> bool:
    """Whether a process that merges is killed before its n-th step: to open, make, rename or remove something."""
    child = os.fork()
    if child == 0:
        left = itertools.count(change - 1, -1)

        def hook(event: str, _: object) -> None:
            if event in ("open", "os.mkdir", "os.rename", "os.remove") and next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        mean = plan_mean(parts, [0.5, 0.5])
        sys.addaudithook(hook)
        write_mean(mean, target)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_killed_before_any_step_it_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in [key for key in SHAPES if key.startswith("decoder.layers.")]:
        monkeypatch.delitem(SHAPES, key)
    parts = [save(tmp_path / "main", each) for each in (10, 20)]
    target = Checkpoint(tmp_path / "merged", 20)
    kills = 0
    while not target.folder.exists() and write_until(kills + 1, parts, target):
        kills += 1
        assert Checkpoints.in_folder(tmp_path / "merged").complete == ((20,) if target.folder.exists() else ())
    assert kills > 20  # the reads of two blocks from two checkpoints, and all that is written
    assert target.digest is not None
    assert damaged_contents(target.folder) == []
    assert [entry.name for entry in (tmp_path / "merged").iterdir()] == ["iter_0000020"]


def test_a_full_disk_is_found_before_and_during(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "embedding.word_embeddings.weight", (20_000, 16))  # 640 KB, and the disk has 600
    mean = plan_mean([save(tmp_path / "main", each) for each in (10, 20)], [0.5, 0.5])
    target = Checkpoint(disk, 20)
    with pytest.raises(StorageError, match=r"disk/iter_0000020 needs 0\.00 GiB"):
        write_mean(mean, target)
    monkeypatch.setattr(weighted_mean, "refuse_full_disk", lambda *_: None)  # as if others had filled it since
    with pytest.raises(StorageError, match=r"disk/.* could not be written: No space left on device") as error:
        write_mean(mean, target)
    assert error.value.exit_code == 74
    assert list(disk.iterdir()) == []


def test_a_disk_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mean = plan_mean([save(tmp_path / "main", 10), save(tmp_path / "main", 20)], [0.5, 0.5])

    def broken(*_: object) -> int:  # a mock: no disk here fails when it is told to
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(
        StorageError, match=r"main/iter_0000010/.*\.distcp could not be read: Input/output error"
    ) as error:
        write_mean(mean, Checkpoint(tmp_path / "merged", 20))
    assert error.value.exit_code == 74
    assert list((tmp_path / "merged").iterdir()) == []


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mean = plan_mean([save(tmp_path / "main", 10), save(tmp_path / "main", 20)], [0.5, 0.5])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weighted_mean, "take_hashes", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_mean(mean, Checkpoint(tmp_path / "merged", 20))
    assert list((tmp_path / "merged").iterdir()) == []
