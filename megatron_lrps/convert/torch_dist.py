"""Reads a torch_dist checkpoint row by row. It needs no model and no process group, and runs no code of a pickle.

A tensor is stored in the chunks that the saving ranks held; ``torch.save`` wrote each at some offset of a ``.distcp``
file. Only torch's own header of a chunk is loaded, weights-only; its rows are then read straight from their bytes, so
that memory is what the caller asks for, whatever the model's size.
"""

import io
import math
import pickle
import threading
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from megatron_lrps.campaign.checkpoint import is_complete
from megatron_lrps.campaign.manifest import damaged_sizes
from megatron_lrps.campaign.pickled_code import Inert, is_state, refuse_code, refuse_foreign_file
from megatron_lrps.convert.chunks import Chunk, View, place, read_into, read_past_cache, reading
from megatron_lrps.errors import RefusedError

COMMON_STATE = "common_state/shard_0_1"
"""The key of Megatron's arguments and counters, a weights-only pickle."""
COMMON_FILE = "common.pt"
"""The file that has them alone in checkpoints of megatron-core 0.18 and before."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor of a checkpoint: its whole shape, dtype and chunks."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class OpenCheckpoint:
    """An open checkpoint; threads may read from it at the same time.

    Attributes:
        folder: The folder, such as ``iter_0000123``.
        args: Megatron's arguments when the checkpoint was saved, by destination; empty if Megatron-Bridge saved it.
        tensors: Key -> tensor. The optimizer's are left out.
        states: Key -> the place of Transformer Engine's state of a linear layer.
        past_cache: Whether values are read past the page cache.
    """

    folder: Path
    args: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    states: Mapping[str, Chunk] = field(default_factory=dict)
    past_cache: bool = False
    _placed: dict[Chunk, int | Tensor] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def of_bridge(self) -> bool:
        """Whether Megatron-Bridge has saved it."""
        return not self.args

    def read(self, key: str, index: tuple[int, ...], start: int, stop: int) -> Tensor:
        """Read rows of a tensor, or of one layer's or expert's part of it.

        Args:
            key: The key of the tensor.
            index: The index into its leading dimensions: (layer,), (layer, expert), or empty.
            start: The first row in the dimensions that are left.
            stop: The row after the last.

        Returns:
            The rows, [stop - start, ...], in the saved dtype.

        Raises:
            RefusedError: the chunks do not hold all rows, or are no tensors of that shape.
            StorageError: the disk fails.
        """
        inner = self.tensors[key].shape[len(index) + 1 :]
        rows = torch.empty((stop - start, *inner), dtype=self.tensors[key].dtype)
        self.read_rows(key, index, start, rows)
        return rows

    def read_rows(self, key: str, index: tuple[int, ...], start: int, rows: Tensor) -> None:
        """Read as ``read`` does, from row ``start`` on, into a tensor that is there: [rows, ...] in the saved dtype."""
        lead, stop = len(index), start + len(rows)
        found = 0
        for chunk in self.tensors[key].chunks:
            if any(not o <= i < o + s for i, o, s in zip(index, chunk.offsets, chunk.sizes, strict=False)):
                continue
            begin = chunk.offsets[lead]
            first, last = max(start, begin), min(stop, begin + chunk.sizes[lead])
            if first >= last:
                continue
            inside = tuple(i - o for i, o in zip(index, chunk.offsets, strict=False))
            columns = tuple(
                slice(o, o + s) for o, s in zip(chunk.offsets[lead + 1 :], chunk.sizes[lead + 1 :], strict=True)
            )
            target = rows[(slice(first - start, last - start), *columns)]
            self._read_part(chunk, inside, first - begin, target)
            found += target.numel()
        if found != rows.numel():
            raise RefusedError(
                f"{self.folder}: the chunks of {key} hold {found} of {rows.numel()} values of {list(index)}, rows "
                f"{start} to {stop}.",
                "use another checkpoint; this one is not as Megatron saves it.",
            )

    def read_state(self, key: str) -> bytes:
        """Return the ``torch.save`` bytes of a state; raises RefusedError if they could run code, and StorageError."""
        chunk = self.states[key]
        path = self.folder / chunk.file
        with reading(path, key), path.open("rb") as file:
            file.seek(chunk.begin)
            content = file.read(chunk.length)
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return content

    def _read_part(self, chunk: Chunk, index: tuple[int, ...], start: int, target: Tensor) -> None:
        """Fill ``target`` with a chunk's rows from ``start`` on; both places count from where the chunk begins."""
        with self._lock:
            if chunk not in self._placed:
                self._placed[chunk] = place(self.folder, chunk, target.dtype)
            placed = self._placed[chunk]
        if isinstance(placed, Tensor):
            target.copy_(placed[index][start : start + len(target)])
            return
        skipped = 0
        for position, size in zip((*index, start), chunk.sizes, strict=False):
            skipped = skipped * size + position
        skipped *= math.prod(chunk.sizes[len(index) + 1 :])
        contiguous = target if target.is_contiguous() else torch.empty(target.shape, dtype=target.dtype)
        if contiguous.numel():
            read = read_past_cache if self.past_cache else read_into
            read(self.folder / chunk.file, placed + skipped * target.itemsize, contiguous)
        if contiguous is not target:
            target.copy_(contiguous)


def open_checkpoint(folder: Path, *, past_cache: bool = False, of_bridge: bool = False) -> OpenCheckpoint:
    """Open a complete torch_dist checkpoint of megatron-core.

    Args:
        folder: The folder, such as ``iter_0000123``.
        past_cache: Whether to read values past the page cache: for large blocks that are read once.
        of_bridge: Whether one that Megatron-Bridge has saved, and that has no arguments, is opened too.

    Raises:
        RefusedError: the checkpoint is unfinished or torn, would run code, or has another format.
    """
    fix = "use another checkpoint, or restore this one's files from a copy."
    if not folder.is_dir():
        raise RefusedError(f"There is no checkpoint {folder}.", "correct the path.")
    if not is_complete(folder):
        raise RefusedError(f"{folder} is unfinished: it has no .metadata or metadata.json.", fix)
    if damages := damaged_sizes(folder):
        raise RefusedError(f"{folder} is damaged: {damages[0]}.", fix)
    refuse_code(folder)
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    try:
        metadata = FileSystemReader(folder).read_metadata()
        args = _args(folder, metadata)
        if not args and not of_bridge:
            raise saved_by_bridge(folder)
        tensors = dict(_tensors(folder, metadata))
        states = dict(_states(folder, metadata))
    except RefusedError:
        raise
    except Exception as error:  # a torn pickle or a foreign format can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RefusedError(f"{folder} is no torch_dist checkpoint of megatron-core: {reason}.", fix) from None
    return OpenCheckpoint(folder=folder, args=args, tensors=tensors, states=states, past_cache=past_cache)


def _tensors(folder: Path, metadata: Any) -> Iterator[tuple[str, Stored]]:
    from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata

    sizes: dict[str, int] = {}
    for key, value in metadata.state_dict_metadata.items():
        if not isinstance(value, TensorStorageMetadata) or key.startswith(("optimizer.", "chained_")):
            continue
        chunks = {}
        for each in value.chunks:
            info = metadata.storage_data[MetadataIndex(key, each.offsets)]
            chunks[each.offsets] = _chunk(folder, info, sizes, each.offsets, each.sizes)
        yield key, Stored(shape=tuple(value.size), dtype=value.properties.dtype, chunks=tuple(chunks.values()))


def _states(folder: Path, metadata: Any) -> Iterator[tuple[str, Chunk]]:
    for index, info in metadata.storage_data.items():
        if is_state(index.fqn):
            yield index.fqn, _chunk(folder, info, {})


def _chunk(
    folder: Path, info: Any, file_sizes: dict[str, int], offsets: Iterable[int] = (), sizes: Iterable[int] = ()
) -> Chunk:
    """Read a chunk from the metadata; refuse one that does not lie within a file of the checkpoint."""
    name = info.relative_path
    refuse_foreign_file(folder, name)
    if name not in file_sizes:
        try:
            file_sizes[name] = (folder / name).stat().st_size
        except OSError as error:
            raise RefusedError(
                f"{folder / name} cannot be read: {error.strerror}.", "restore it from a copy."
            ) from None
    if info.offset < 0 or info.length < 0 or info.offset + info.length > file_sizes[name]:
        raise RefusedError(
            f"{folder / name} has {file_sizes[name]} bytes, and {info.offset + info.length} are needed: it is torn.",
            "restore it from a copy, or use another checkpoint.",
        )
    if getattr(info, "transform_descriptors", None):
        raise RefusedError(f"{folder / name} is compressed, but Megatron never compresses.", "use another checkpoint.")
    return Chunk(offsets=tuple(offsets), sizes=tuple(sizes), file=name, begin=info.offset, length=info.length)


def _args(folder: Path, metadata: Any) -> dict[str, Any]:
    """Return Megatron's arguments from the common state, which ``torch.save`` wrote; none if it has none."""
    from torch.distributed.checkpoint.metadata import MetadataIndex

    info = metadata.storage_data.get(MetadataIndex(COMMON_STATE))
    alone = folder / COMMON_FILE
    if info is not None:
        chunk = _chunk(folder, info, {})
    elif alone.is_file():
        chunk = Chunk(offsets=(), sizes=(), file=COMMON_FILE, begin=0, length=alone.stat().st_size)
    else:
        raise RefusedError(
            f"{folder} has neither {COMMON_STATE} nor {COMMON_FILE}.",
            "give a torch_dist checkpoint of megatron-core 0.16 to 0.20.",
        )
    with (folder / chunk.file).open("rb") as file:
        archive = zipfile.ZipFile(cast("IO[bytes]", View(file, chunk.begin, chunk.length)))
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        state = _CommonState(io.BytesIO(archive.read(name))).load()
    while isinstance(state, list) and len(state) == 1:  # a sharded object is saved as a list of one
        state = state[0]
    return dict(vars(state["args"])) if "args" in state else {}


def saved_by_bridge(folder: Path) -> RefusedError:
    """Return the error for a checkpoint of Megatron-Bridge's where arguments of Megatron-LM's are needed."""
    return RefusedError(
        f"{folder} holds no arguments of Megatron-LM's, so Megatron-Bridge has saved it.",
        "export it to Hugging Face with --engine bridge --reference DIR (docs/convert.md).",
    )


class _CommonState(pickle.Unpickler):
    """A reader of Megatron's common state without Megatron, and without running code that the pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        plain = {("argparse", "Namespace"): Namespace, ("collections", "OrderedDict"): OrderedDict}
        return plain.get((module, name), Opaque)

    def persistent_load(self, pid: Any) -> Any:
        return Opaque()


class Opaque(Inert):
    """A placeholder for a value of Megatron's arguments that is not plain."""

    def append(self, value: Any) -> None:
        """Serve a pickle's call on a subclass of list."""

    def extend(self, values: Any) -> None:
        """Serve a pickle's call on a subclass of list."""
