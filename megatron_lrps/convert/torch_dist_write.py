"""Writes a torch_dist checkpoint of weights alone, block by block. Megatron loads it at any TP and PP."""

import io
import itertools
import json
import math
import re
import warnings
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.state_dict_saver import save

from megatron_lrps.convert.row_blocks import row_blocks
from megatron_lrps.convert.torch_dist import COMMON_STATE
from megatron_lrps.errors import LrpsError
from megatron_lrps.storage.files import write_atomic


@dataclass(frozen=True)
class Block:
    """A block of a tensor, written as one chunk.

    Attributes:
        key: The key of Megatron's tensor.
        shape: The shape of the whole tensor.
        dtype: The dtype of the values.
        index: The part of the tensor: (layer,), (layer, expert) or empty.
        start: The first row of the block in that part.
        stop: The row after the last.
    """

    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    index: tuple[int, ...]
    start: int
    stop: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the block: 1 for each number of the index, the rows, and the rest."""
        return (*(1 for _ in self.index), self.stop - self.start, *self.shape[len(self.index) + 1 :])


def blocks_of(
    key: str, shape: tuple[int, ...], dtype: torch.dtype, index: tuple[int, ...], block_bytes: int | None = None
) -> Iterator[Block]:
    """Yield the part of a tensor at ``index`` in blocks of ``block_bytes``, by default ``BLOCK_BYTES``."""
    rows, *inner = shape[len(index) :]
    for start, stop in row_blocks(0, rows, math.prod(inner) * dtype.itemsize, block_bytes):
        yield Block(key, shape, dtype, index, start, stop)


ReadBlock = Callable[[Block], Tensor]
"""Returns a block's values, [rows, ...]."""


def reading_ahead(blocks: Sequence[Block], read: ReadBlock, *, threads: int = 1) -> ReadBlock:
    """Wrap ``read`` for blocks that are asked for in order: the next ``threads`` are read while one is written."""
    values = zip(blocks, _read_in_order(blocks, read, threads), strict=True)

    def following(block: Block) -> Tensor:
        expected, found = next(values)
        assert block == expected
        return found

    return following


def _read_in_order(blocks: Sequence[Block], read: ReadBlock, threads: int) -> Iterator[Tensor]:
    left = iter(blocks)
    with ThreadPoolExecutor(threads) as pool:
        jobs = deque(pool.submit(read, block) for block in itertools.islice(left, threads))
        while jobs:
            found = jobs.popleft().result()
            jobs.extend(pool.submit(read, block) for block in itertools.islice(left, 1))
            yield found


def write_checkpoint(
    folder: Path,
    args: Mapping[str, Any],
    blocks: Sequence[Block],
    read: ReadBlock,
    states: Mapping[str, Callable[[], bytes]],
) -> None:
    """Write a checkpoint folder; its metadata comes last.

    Args:
        folder: An empty folder.
        args: Megatron's arguments that decide what the model is, by destination.
        blocks: Every block of every tensor.
        read: Called once for each block, when it is written.
        states: The states of Transformer Engine's linear layers: key -> function that returns its ``torch.save`` bytes.

    Raises:
        LrpsError: what ``read`` raises.
        OSError: the disk fails.
    """
    planner = _Planner(args, blocks, read, states)
    writer = FileSystemWriter(folder, thread_count=1, single_file_per_rank=True, sync_files=True, overwrite=False)
    with warnings.catch_warnings():  # torch warns that there is no process group
        warnings.simplefilter("ignore", UserWarning)
        try:
            save({}, storage_writer=writer, planner=planner, no_dist=True)
        except CheckpointException as error:
            raise _cause(error) from None
    written = {"sharded_backend": "torch_dist", "sharded_backend_version": 1}
    write_atomic(folder / "metadata.json", json.dumps(written))


def _cause(error: CheckpointException) -> BaseException:
    """Return the original error: torch wraps it, and its zip writer hides a full disk behind its own error."""
    cause: BaseException | None = next(failure for failure, _ in error.failures.values())
    while cause is not None and not isinstance(cause, OSError | LrpsError):
        cause = cause.__cause__ or cause.__context__
    return cause or error


class _Planner(DefaultSavePlanner):
    """A planner that hands torch one block at a time; torch's own needs all tensors in memory."""

    def __init__(
        self,
        args: Mapping[str, Any],
        blocks: Sequence[Block],
        read: ReadBlock,
        states: Mapping[str, Callable[[], bytes]],
    ) -> None:
        super().__init__(flatten_state_dict=False)
        self._args, self._blocks, self._read, self._states = args, blocks, read, states

    def create_local_plan(self) -> SavePlan:
        """Plan one item per block, one for the arguments, and one per state."""
        self._values: dict[MetadataIndex, Block | None] = {MetadataIndex(COMMON_STATE): None}
        items = []
        for block in self._blocks:
            offsets = torch.Size((*block.index, block.start, *(0 for _ in block.shape[len(block.index) + 1 :])))
            index = MetadataIndex(block.key, offsets)
            self._values[index] = block
            tensor = TensorWriteData(
                chunk=ChunkStorageMetadata(offsets=offsets, sizes=torch.Size(block.sizes)),
                properties=TensorProperties(dtype=block.dtype),
                size=torch.Size(block.shape),
            )
            items.append(WriteItem(index=index, type=WriteItemType.SHARD, tensor_data=tensor))
        states = [MetadataIndex(COMMON_STATE), *map(MetadataIndex, self._states)]
        items += [WriteItem(index=index, type=WriteItemType.BYTE_IO) for index in states]
        self.plan = SavePlan(items)
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> Tensor | io.BytesIO:
        """Return a block's values, or the bytes of a state."""
        block = self._values.get(write_item.index)
        if block is not None:
            return self._read(block).view(block.sizes)
        if write_item.index.fqn != COMMON_STATE:
            return io.BytesIO(self._states[write_item.index.fqn]())
        return io.BytesIO(_saved({"args": Namespace(**self._args), "checkpoint_version": 3.0, "iteration": 0}))


def _saved(state: Any) -> bytes:
    """Save an object as Megatron does: in a list."""
    stream = io.BytesIO()
    torch.save([state], stream)
    return stream.getvalue()


_LINEAR = re.compile(r"(.+\.linear_[^.]+|.+\.mixer\.(?:in|out)_proj)\.weight(?:\.z)?")
"""The key of a linear layer's weight; that of a Mamba layer's first one is saved in parts, of which z is one."""
_OUTPUT, _OF_HYBRID = "output_layer.weight", "decoder.final_norm.weight"


def empty_states(blocks: Iterable[Block]) -> dict[str, Callable[[], bytes]]:
    """Return the states that Megatron's layer specs need beside each linear layer's weight, for non-FP8 layers.

    A hybrid model has one beside its output layer too.
    """
    states: dict[str, Callable[[], bytes]] = {}
    blocks = list(blocks)
    hybrid = any(block.key == _OF_HYBRID for block in blocks)
    for block in blocks:
        found = _LINEAR.fullmatch(block.key)
        layer = found[1] if found else "output_layer" if hybrid and block.key == _OUTPUT else None
        if layer is not None:
            at = ".".join(map(str, block.index or (0,)))
            of = ".".join(map(str, block.shape[: len(block.index)] or (1,)))
            states[f"{layer}._extra_state/shard_{at}_{of}"] = partial(_saved, None)
    return states
