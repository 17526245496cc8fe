"""Writing a torch_dist checkpoint of weights alone, part by part: any TP and PP of Megatron loads it."""

import io
import json
import math
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
class Part:
    """A block of a tensor, written as one chunk.

    Attributes:
        key: Megatron's tensor.
        shape: That of the whole tensor.
        dtype: Its values'.
        index: (layer,), (layer, expert) or empty: which part of it.
        start: First row of that.
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
        """Shape of the block: 1 for each of the index, the rows, and the rest."""
        return (*(1 for _ in self.index), self.stop - self.start, *self.shape[len(self.index) + 1 :])


def parts_of(key: str, shape: tuple[int, ...], dtype: torch.dtype, index: tuple[int, ...]) -> Iterator[Part]:
    """One part of a tensor in blocks of ``BLOCK_BYTES``."""
    rows, *inner = shape[len(index) :]
    for start, stop in row_blocks(0, rows, math.prod(inner) * dtype.itemsize):
        yield Part(key, shape, dtype, index, start, stop)


Source = Callable[[Part], Tensor]
"""Gives a part's values, [rows, ...]."""


def write_checkpoint(
    folder: Path,
    args: Mapping[str, Any],
    parts: Sequence[Part],
    read: Source,
    states: Mapping[str, Callable[[], bytes]],
) -> None:
    """Write a checkpoint folder; its metadata comes last.

    Args:
        folder: An empty one.
        args: Megatron's arguments that say what the model is, by destination.
        parts: Every block of every tensor.
        read: Called once for each, when it is written.
        states: Of Transformer Engine's linear layers: key -> what ``torch.save`` wrote of it.

    Raises:
        LrpsError: of ``read``.
        OSError: the disk refuses.
    """
    planner = _Planner(args, parts, read, states)
    writer = FileSystemWriter(folder, thread_count=1, single_file_per_rank=True, sync_files=True, overwrite=False)
    with warnings.catch_warnings():  # that no process group is there
        warnings.simplefilter("ignore", UserWarning)
        try:
            save({}, storage_writer=writer, planner=planner, no_dist=True)
        except CheckpointException as error:
            raise _cause(error) from None
    written = {"sharded_backend": "torch_dist", "sharded_backend_version": 1}
    write_atomic(folder / "metadata.json", json.dumps(written))


def _cause(error: CheckpointException) -> BaseException:
    """What went wrong: torch wraps it, and its zip writer covers a full disk with an error of its own."""
    cause: BaseException | None = next(failure for failure, _ in error.failures.values())
    while cause is not None and not isinstance(cause, OSError | LrpsError):
        cause = cause.__cause__ or cause.__context__
    return cause or error


class _Planner(DefaultSavePlanner):
    """Hands torch one part after the other; torch's own planner wants all tensors in memory."""

    def __init__(
        self,
        args: Mapping[str, Any],
        parts: Sequence[Part],
        read: Source,
        states: Mapping[str, Callable[[], bytes]],
    ) -> None:
        super().__init__(flatten_state_dict=False)
        self._args, self._parts, self._read, self._states = args, parts, read, states

    def create_local_plan(self) -> SavePlan:
        """One item a part, one for the arguments, and one a state."""
        self._values: dict[MetadataIndex, Part | None] = {MetadataIndex(COMMON_STATE): None}
        items = []
        for part in self._parts:
            offsets = torch.Size((*part.index, part.start, *(0 for _ in part.shape[len(part.index) + 1 :])))
            index = MetadataIndex(part.key, offsets)
            self._values[index] = part
            tensor = TensorWriteData(
                chunk=ChunkStorageMetadata(offsets=offsets, sizes=torch.Size(part.sizes)),
                properties=TensorProperties(dtype=part.dtype),
                size=torch.Size(part.shape),
            )
            items.append(WriteItem(index=index, type=WriteItemType.SHARD, tensor_data=tensor))
        states = [MetadataIndex(COMMON_STATE), *map(MetadataIndex, self._states)]
        items += [WriteItem(index=index, type=WriteItemType.BYTE_IO) for index in states]
        plan = SavePlan(items)
        self.plan = plan
        return plan

    def resolve_data(self, write_item: WriteItem) -> Tensor | io.BytesIO:
        """A part's values, or the bytes of a state."""
        part = self._values.get(write_item.index)
        if part is not None:
            return self._read(part).view(part.sizes)
        if write_item.index.fqn != COMMON_STATE:
            return io.BytesIO(self._states[write_item.index.fqn]())
        return io.BytesIO(_saved({"args": Namespace(**self._args), "checkpoint_version": 3.0, "iteration": 0}))


def _saved(state: Any) -> bytes:
    """As Megatron saves an object: in a list."""
    stream = io.BytesIO()
    torch.save([state], stream)
    return stream.getvalue()


def empty_states(parts: Iterable[Part]) -> dict[str, Callable[[], bytes]]:
    """What Megatron's layer specs ask for beside each linear layer's weight, of layers that are not FP8."""
    return {key: lambda: _saved(None) for key in _state_keys(parts)}


def _state_keys(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        if part.index and ".linear_" in part.key and part.key.endswith(".weight"):
            name = part.key.removesuffix("weight") + "_extra_state"
            at = ".".join(map(str, part.index))
            of = ".".join(map(str, part.shape[: len(part.index)]))
            yield f"{name}/shard_{at}_{of}"
