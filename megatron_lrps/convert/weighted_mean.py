"""A weighted mean of checkpoints as a checkpoint of its own, block by block: memory does not grow with the model.

In: complete torch_dist checkpoints of one path, of any parallel layout, and a weight for each. Out: a
torch_dist checkpoint of weights alone, with its manifest and ``lrps-merge.json``, which lists its sources. Each
value is added up in fp32, the oldest checkpoint first, and rounded once to the dtype that it was saved in; so the bits
do not depend on the layout. Neither a GPU nor a process group is needed, and nothing is unpickled.
"""

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.manifest import take_hashes, take_sizes
from megatron_lrps.convert.huggingface_export import IGNORED
from megatron_lrps.convert.mapping import elements
from megatron_lrps.convert.megatron_export import is_plain, leading_dimensions
from megatron_lrps.convert.row_blocks import row_blocks
from megatron_lrps.convert.staging import refuse_full_disk, staged
from megatron_lrps.convert.torch_dist import OpenCheckpoint, open_checkpoint
from megatron_lrps.convert.torch_dist_write import Block, blocks_of, reading_ahead, write_checkpoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import write_atomic

MERGE_RECORD = "lrps-merge.json"
"""The file in the checkpoint that says which checkpoints were merged, by which weights."""
READERS = 4
"""The number of threads that read and add up, each its own block: while one waits for the disk, another computes."""
MEAN_BLOCK_BYTES = 16 * 2**20
"""The size of a block: small enough for the allocator to hand out the same memory again."""
PIECE_BYTES = 2 * 2**20
"""What a thread reads of each checkpoint in turn: enough for the disk, and its sum stays in the processor's cache."""
_FLOATS = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True, kw_only=True)
class WeightedMean:
    """A mean that is to be written.

    Attributes:
        parts: (checkpoint, weight) of each, oldest first.
        opened: The same checkpoints, open.
    """

    parts: Sequence[tuple[Checkpoint, float]]
    opened: Sequence[OpenCheckpoint]

    @property
    def newest(self) -> OpenCheckpoint:
        """The last checkpoint: its arguments are the mean's."""
        return self.opened[-1]

    @property
    def blocks(self) -> list[Block]:
        """Every block of every tensor, in order."""
        return list(itertools.chain.from_iterable(self._blocks()))

    def _blocks(self) -> Iterator[Iterator[Block]]:
        for key, stored in self.newest.tensors.items():
            if not key.startswith(IGNORED):
                for index in itertools.product(*map(range, stored.shape[: leading_dimensions(key)])):
                    yield blocks_of(key, stored.shape, stored.dtype, index, MEAN_BLOCK_BYTES)

    def read(self, block: Block) -> Tensor:
        """Return the mean of a block, [rows, ...] in the saved dtype.

        Raises:
            RefusedError: A checkpoint does not hold all of it.
            StorageError: The disk fails.
        """
        rows = block.stop - block.start
        found = torch.empty(rows, *block.sizes[len(block.index) + 1 :], dtype=block.dtype)
        for start, stop in row_blocks(0, rows, found[0].nbytes, PIECE_BYTES):
            self._add_up(block, start, found[start:stop])
        return found

    def _add_up(self, block: Block, start: int, found: Tensor) -> None:
        """Fill ``found`` with the mean of a block's rows from ``start`` on."""
        wide, total = _SUMS.like(found)
        for opened, (_, weight) in zip(self.opened, self.parts, strict=True):
            opened.read_rows(block.key, block.index, block.start + start, found)
            total.add_(wide.copy_(found), alpha=weight)  # in fp32, whatever the values are
        found.copy_(total)


class _Sums(threading.local):
    """A thread's memory for what it adds up, which is kept: new memory costs as much time as the sum."""

    def __init__(self) -> None:
        self._wide = self._total = torch.empty(0)

    def like(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """Return two fp32 tensors of that shape: any values, and zeros."""
        if self._total.numel() < found.numel():
            self._wide, self._total = torch.empty(found.numel()), torch.empty(found.numel())
        wide, total = (each[: found.numel()].view(found.shape) for each in (self._wide, self._total))
        return wide, total.zero_()


_SUMS = _Sums()


def plan_mean(checkpoints: Sequence[Checkpoint], weights: Sequence[float]) -> WeightedMean:
    """Open the checkpoints and compare them; nothing is written.

    Args:
        checkpoints: At least one, oldest first.
        weights: One for each.

    Raises:
        RefusedError: One of them is torn, damaged or would run code, or they are not of one model.
    """
    opened = [open_checkpoint(checkpoint.folder, past_cache=True) for checkpoint in checkpoints]
    newest = opened[-1]
    for other in opened[:-1]:
        _refuse_other_model(newest, other)
    for key, stored in newest.tensors.items():
        if not key.startswith(IGNORED) and stored.dtype not in _FLOATS:
            raise RefusedError(
                f"{newest.folder}: {key} holds {stored.dtype}, and a mean needs floating-point numbers.",
                "merge checkpoints of another model; this one cannot be merged.",
            )
    return WeightedMean(parts=list(zip(checkpoints, weights, strict=True)), opened=opened)


def write_mean(mean: WeightedMean, target: Checkpoint) -> None:
    """Write the mean as ``target``, whose folder appears whole, with its manifest, or not at all.

    Raises:
        RefusedError: The target exists, another process writes it, or a checkpoint does not hold what it should.
        StorageError: There is no room, or the disk fails; nothing is left.
    """
    blocks = mean.blocks
    refuse_full_disk(target.folder, sum(elements(block.sizes) * block.dtype.itemsize for block in blocks))
    states: dict[str, Callable[[], bytes]] = {key: partial(mean.newest.read_state, key) for key in mean.newest.states}
    with staged(target.folder) as hidden, _one_thread():
        read = reading_ahead(blocks, mean.read, threads=READERS)
        write_checkpoint(hidden, _arguments(mean.newest), blocks, read, states)
        write_atomic(hidden / MERGE_RECORD, json.dumps(_record(mean), indent=2) + "\n")
        take_hashes(hidden, take_sizes(hidden))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread, and in those that it starts, without helpers of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _refuse_other_model(newest: OpenCheckpoint, other: OpenCheckpoint) -> None:
    mine, theirs = (
        {key: (stored.shape, stored.dtype) for key, stored in each.tensors.items() if not key.startswith(IGNORED)}
        for each in (newest, other)
    )
    for key in sorted(mine.keys() | theirs.keys()):
        if mine.get(key) != theirs.get(key):
            raise RefusedError(
                f"{key} is {_kind(theirs.get(key))} in {other.folder} and {_kind(mine.get(key))} in {newest.folder}: "
                "they are not of one model.",
                "merge checkpoints of one path.",
            )


def _kind(known: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return f"{list(known[0])} of {known[1]}" if known else "nothing"


def _arguments(newest: OpenCheckpoint) -> dict[str, Any]:
    kept = {key: value for key, value in newest.args.items() if is_plain(value)}
    return {**kept, "no_save_optim": True, "no_save_rng": True}


def _record(mean: WeightedMean) -> dict[str, Any]:
    return {
        "optimizer": "absent: a mean of weights has none, so that nothing can be trained on from it",
        "checkpoints": [
            {"iteration": checkpoint.iteration, "weight": weight, "sha256": checkpoint.digest}
            for checkpoint, weight in mean.parts
        ],
    }
