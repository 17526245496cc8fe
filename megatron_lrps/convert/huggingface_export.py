"""A torch_dist checkpoint to a Hugging Face folder, block by block: memory does not grow with the model."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.mapping import (
    EXPERT_BIAS,
    PADDED,
    elements,
    megatron_shapes,
    other_key,
    stored_key,
    weights_of,
)
from megatron_lrps.convert.model_arguments import model_of_args
from megatron_lrps.convert.row_blocks import ahead, row_blocks
from megatron_lrps.convert.safetensors import TensorEntry, header_of, write_file
from megatron_lrps.convert.staging import refuse_full_disk, staged
from megatron_lrps.convert.torch_dist import OpenCheckpoint, saved_by_bridge
from megatron_lrps.convert.weight import Weight
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import write_atomic

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
"""The values of ``--dtype``."""
FLOATS = (*DTYPES.values(), torch.float16)
"""The dtypes of saved weights."""
SHARD_BYTES = 5 * 10**9
"""The largest file, unless a single tensor is larger."""
IGNORED = ("rng_state", "rerun_state_machine_state")
"""The prefixes of keys that are not weights."""


class Exported(NamedTuple):
    """A written export: the number of weights, their bytes, and the number of files."""

    tensors: int
    bytes: int
    files: int


class PlannedExport(NamedTuple):
    """An export that has been found possible. Nothing is written yet.

    Attributes:
        checkpoint: The checkpoint to export.
        model: The model that it holds.
        dtype: The dtype to write, or None to keep each weight as it was saved.
    """

    checkpoint: OpenCheckpoint
    model: Model
    dtype: torch.dtype | None

    def entry(self, weight: Weight) -> TensorEntry:
        """Return a weight as it will be written."""
        stored = self.checkpoint.tensors[stored_key(weight.key, self.checkpoint.tensors)]
        dtype = None if weight.key.endswith(EXPERT_BIAS) else self.dtype
        return TensorEntry(weight.name, weight.shape, dtype or stored.dtype)

    @property
    def entries(self) -> list[TensorEntry]:
        """All weights as they will be written."""
        return [self.entry(weight) for weight in weights_of(self.model) if not weight.begin]

    @property
    def elements(self) -> int:
        """The number of values of all weights."""
        return sum(elements(entry.shape) for entry in self.entries)

    @property
    def ignored(self) -> list[str]:
        """The parts of the checkpoint without a place in the export, in words."""
        fp8 = self.checkpoint.args.get("fp8")
        return [f"the scales of FP8 training (--fp8-format {fp8})"] if fp8 else []

    @property
    def main_dtype(self) -> torch.dtype:
        """The dtype of the embedding, for config.json."""
        return self.entries[0].dtype


def plan_export(
    checkpoint: OpenCheckpoint,
    *,
    vocab: int,
    dtype: str | None = None,
    allow: Collection[str] = (),
    family: str | None = None,
) -> PlannedExport:
    """Check that a checkpoint can be exported.

    Args:
        checkpoint: The checkpoint.
        vocab: The number of tokens of the tokenizer. Megatron's rows behind them are padding, and are left out.
        dtype: A key of ``DTYPES``, or None to keep the saved one.
        allow: As in ``refuse_other_forward``.
        family: As in ``model_of_args``.

    Raises:
        RefusedError: naming the argument or the tensor that has no counterpart.
    """
    if checkpoint.of_bridge:
        raise saved_by_bridge(checkpoint.folder)
    try:
        model = model_of_args(checkpoint.args, vocab, allow=allow, family=family)
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(
            f"{checkpoint.folder} was saved with arguments that megatron-core 0.19 does not write: {error!r}.",
            "export a checkpoint that megatron-core 0.19 saved.",
        ) from None
    tensors = checkpoint.tensors
    rows = tensors[PADDED[0]].shape[0] if PADDED[0] in tensors else 0
    if vocab > rows:
        raise RefusedError(
            f"The tokenizer has {vocab} tokens, but the word embedding of {checkpoint.folder} has {rows} rows.",
            "restore the tokenizer that the campaign was trained with.",
        )
    expected = {stored_key(key, tensors): shape for key, shape in megatron_shapes(model, padded=rows).items()}
    for key, shape in expected.items():
        if key not in tensors or tensors[key].shape != shape:
            found = f"has {list(tensors[key].shape)}" if key in tensors else "is missing"
            raise RefusedError(
                f"{checkpoint.folder}: {key} {found}, but a {model.family} model of these arguments has {list(shape)}.",
                "export it as torch_dist or torch.",
            )
    known = expected.keys() | {other_key(key) for key in expected}  # an import has the norms before experts twice
    if unknown := [key for key in tensors if key not in known and not key.startswith(IGNORED)]:
        raise RefusedError(
            f"{checkpoint.folder} holds {unknown[0]}, but {FAMILIES[model.family].architecture} has no weight for it.",
            "export it as torch_dist or torch.",
        )
    for key in expected:
        if (kind := tensors[key].dtype) not in FLOATS:
            raise RefusedError(f"{checkpoint.folder}: {key} is saved as {kind}.", "export it as torch_dist or torch.")
    kinds: dict[str, torch.dtype] = {}
    for weight in weights_of(model):
        kind = tensors[stored_key(weight.key, tensors)].dtype
        if kinds.setdefault(weight.name, kind) != kind:
            raise RefusedError(
                f"{checkpoint.folder}: {weight.key} is saved as {kind}, and other parts of {weight.name} as "
                f"{kinds[weight.name]}.",
                "export it as torch_dist or torch.",
            )
    return PlannedExport(checkpoint, model, DTYPES[dtype] if dtype else None)


def shards_of(planned: PlannedExport, limit: int) -> list[list[Weight]]:
    """Split the weights into files of at most ``limit`` bytes, a larger weight in one of its own, and none into two."""
    shards: list[list[Weight]] = []
    room = 0
    for weight in weights_of(planned.model):
        if weight.begin:
            shards[-1].append(weight)
            continue
        size = planned.entry(weight).bytes
        if not shards or size > room:
            shards.append([])
            room = limit
        shards[-1].append(weight)
        room -= size
    return shards


def write_export(
    planned: PlannedExport,
    target: Path,
    *,
    around: Callable[[Path], None],
    verify: Callable[[Path], None] = lambda hidden: None,
    shard_bytes: int = SHARD_BYTES,
    workers: int = 1,
) -> Exported:
    """Write the folder ``target``: weights and index, and whatever ``around`` puts beside them.

    Args:
        planned: The export.
        target: A folder that does not exist yet.
        around: Called with the hidden folder before the weights are written; what it raises ends the export.
        verify: Called with the hidden folder when all is written, likewise.
        shard_bytes: The size of the largest file.
        workers: The number of files written at a time; each takes a block of memory.

    Raises:
        RefusedError: as ``staged`` and ``OpenCheckpoint.read``.
        StorageError: there is no room, or the disk fails; nothing of the export is left.
    """
    entries = planned.entries
    size = sum(entry.bytes for entry in entries)
    refuse_full_disk(target, size + len(header_of(entries)))
    shards = shards_of(planned, shard_bytes)
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    files = dict(zip(names, shards, strict=True))
    with staged(target) as hidden:
        around(hidden)
        with ThreadPoolExecutor(workers) as pool:
            jobs = [pool.submit(_write_shard, planned, hidden / name, shard) for name, shard in files.items()]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if len(shards) > 1:
            where = {weight.name: name for name, shard in files.items() for weight in shard}
            index = {"metadata": {"total_size": size}, "weight_map": where}
            write_atomic(hidden / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")
        verify(hidden)
    return Exported(len(entries), size, len(shards))


def _write_shard(planned: PlannedExport, path: Path, weights: Sequence[Weight]) -> None:
    write_file(
        path, [planned.entry(weight) for weight in weights if not weight.begin], ahead(_blocks(planned, weights))
    )


def _blocks(planned: PlannedExport, weights: Sequence[Weight]) -> Iterator[Tensor]:
    for weight in weights:
        for block in read_weight(planned.checkpoint, weight):
            yield block.to(planned.entry(weight).dtype)


def read_weight(checkpoint: OpenCheckpoint, weight: Weight) -> Iterator[Tensor]:
    """Yield a weight's values in blocks of about ``BLOCK_BYTES``, in order, as saved; raises as ``read``."""
    key = stored_key(weight.key, checkpoint.tensors)
    row_bytes = elements(weight.inner) * checkpoint.tensors[key].dtype.itemsize
    for part in weight.parts:
        blocks = (
            checkpoint.read(key, part, begin, end)
            for start, stop in weight.rows
            for begin, end in row_blocks(start, stop, row_bytes)
        )
        if weight.whole:
            yield weight.from_megatron(torch.cat(list(blocks)))
        else:
            yield from blocks
