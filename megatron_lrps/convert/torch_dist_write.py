"""Writing a torch_dist checkpoint of weights alone, part by part: any TP and PP of Megatron loads it."""

import io
import json
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.state_dict_saver import save

from megatron_lrps.convert.torch_dist import COMMON_STATE
from megatron_lrps.versions.files import write_atomic


@dataclass(frozen=True)
class Part:
    """A block of a tensor, written as one chunk.

    Attributes:
        key: Megatron's tensor.
        shape: That of the whole tensor.
        dtype: Its values'.
        index: (layer,), (layer, expert) or empty: which part of it.
    """

    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    index: tuple[int, ...]


Source = Callable[[Part], Tensor]
"""Gives a part's values, [1, ..., rows, columns] as its chunk has them."""


def write_checkpoint(folder: Path, args: Mapping[str, Any], parts: Iterable[Part], read: Source) -> None:
    """Write a checkpoint folder; its metadata comes last.

    Args:
        folder: An empty one.
        args: Megatron's arguments that say what the model is, by destination.
        parts: Every block of every tensor.
        read: Called once for each, when it is written.

    Raises:
        OSError: the disk refuses.
    """
    parts = list(parts)
    planner = _Planner(args, parts, read)
    writer = FileSystemWriter(folder, thread_count=1, single_file_per_rank=True, sync_files=True, overwrite=False)
    with warnings.catch_warnings():  # that no process group is there
        warnings.simplefilter("ignore", UserWarning)
        save({}, storage_writer=writer, planner=planner, no_dist=True)
    written = {"sharded_backend": "torch_dist", "sharded_backend_version": 1}
    write_atomic(folder / "metadata.json", json.dumps(written))


class _Planner(DefaultSavePlanner):
    """Hands torch one part after the other; torch's own planner wants all tensors in memory."""

    def __init__(self, args: Mapping[str, Any], parts: list[Part], read: Source) -> None:
        super().__init__(flatten_state_dict=False)
        self._args, self._parts, self._read = args, parts, read

    def create_local_plan(self) -> SavePlan:
        """One item a part, one for the arguments, and an empty state for each linear layer."""
        self._values: dict[MetadataIndex, Part | None] = {MetadataIndex(COMMON_STATE): None}
        items = []
        for part in self._parts:
            rest = len(part.index)
            offsets = torch.Size((*part.index, *(0 for _ in part.shape[rest:])))
            sizes = torch.Size((*(1 for _ in part.index), *part.shape[rest:]))
            index = MetadataIndex(part.key, offsets)
            self._values[index] = part
            tensor = TensorWriteData(
                chunk=ChunkStorageMetadata(offsets=offsets, sizes=sizes),
                properties=TensorProperties(dtype=part.dtype),
                size=torch.Size(part.shape),
            )
            items.append(WriteItem(index=index, type=WriteItemType.SHARD, tensor_data=tensor))
        states = [MetadataIndex(COMMON_STATE), *(MetadataIndex(key) for key in _extra_states(self._parts))]
        items += [WriteItem(index=index, type=WriteItemType.BYTE_IO) for index in states]
        plan = SavePlan(items)
        self.plan = plan
        return plan

    def resolve_data(self, write_item: WriteItem) -> Tensor | io.BytesIO:
        """A part's values, or the bytes of a state."""
        part = self._values.get(write_item.index)
        if part is not None:
            return self._read(part)
        state: Any = None  # of a linear layer that is not FP8
        if write_item.index.fqn == COMMON_STATE:
            state = {"args": Namespace(**self._args), "checkpoint_version": 3.0, "iteration": 0}
        stream = io.BytesIO()
        torch.save([state], stream)
        return stream


def _extra_states(parts: Iterable[Part]) -> Iterable[str]:
    """Keys that Megatron's layer specs ask for beside each linear layer's weight."""
    for part in parts:
        if part.index and ".linear_" in part.key and part.key.endswith(".weight"):
            name = part.key.removesuffix("weight") + "_extra_state"
            at = ".".join(map(str, part.index))
            of = ".".join(map(str, part.shape[: len(part.index)]))
            yield f"{name}/shard_{at}_{of}"
