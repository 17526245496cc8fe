"""A Hugging Face folder to a torch_dist checkpoint of weights, which a campaign's first path starts from.

Megatron knows checkpoints without an iteration: a folder ``release``, and a tracker that names it. This is one.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from megatron_lrps.campaign.checkpoint import TRACKER
from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.config_keys import shown
from megatron_lrps.convert.families.family import WeightNames
from megatron_lrps.convert.huggingface_config import model_of_config
from megatron_lrps.convert.mapping import PADDED, elements, megatron_shapes, weights_of
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.convert.mxfp4 import unpacked
from megatron_lrps.convert.row_blocks import mean_row, row_blocks
from megatron_lrps.convert.safetensors import FileTensor, StoredTensor, dtype_name
from megatron_lrps.convert.staging import refuse_full_disk, staged
from megatron_lrps.convert.torch_dist_write import Block, blocks_of, empty_states, write_checkpoint
from megatron_lrps.convert.weight import Weight
from megatron_lrps.convert.weight_files import read_config, read_folder
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.hybrid_pattern import EXPERTS
from megatron_lrps.storage.files import write_atomic

WITHOUT_ITERATION = "release"
"""Megatron's name for a checkpoint without an iteration, both as folder and in the tracker."""
PADDING = 1024
"""The rows of the word embedding are a multiple of this: Megatron's default of 128 for each of eight tensor ranks."""
UNUSED = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")
"""Endings of the names of tensors that older versions of transformers saved, but that are not parameters."""

_AGAIN = "download the model again."


class Imported(NamedTuple):
    """A written import.

    Attributes:
        folder: The folder to give Megatron as ``--pretrained-checkpoint``.
        model: The model.
        rows: The rows of the word embedding, padding included.
        bytes: The size of all weights.
    """

    folder: Path
    model: Model
    rows: int
    bytes: int


class PlannedImport(NamedTuple):
    """An import that has been found possible. Nothing is written yet.

    Attributes:
        model: The model.
        weights: The weights in the files that have a place in Megatron, by name.
        left_out: The names of those that transformers does not compute with either: of multi-token prediction.
    """

    model: Model
    weights: dict[str, StoredTensor]
    left_out: list[str]

    @property
    def elements(self) -> int:
        """The number of values of all weights."""
        return sum(elements(placed.shape) for placed in self.weights.values())


def plan_import(source: Path) -> PlannedImport:
    """Read a folder, and check that Megatron has a place for all of it.

    Raises:
        RefusedError: naming the key or the weight that has no place in Megatron, is missing, has another shape or dtype
            than Megatron's tensor can have, or is not what transformers would compute with.
    """
    config_file = source / "config.json"
    model = model_of_config(read_config(config_file), str(config_file))
    found = unpacked(_with_prefix(read_folder(source), FAMILIES[model.family].names))
    experts = 1 if FAMILIES[model.family].names.stacked else max(1, model.experts)
    routed = model.pattern.count(EXPERTS) if model.pattern else model.layers
    if max(model.layers, routed * experts) > len(found):  # before a list of them is made
        raise RefusedError(
            f"{config_file} describes {model.layers:,} layers with {model.experts:,} experts, but the files hold only "
            f"{len(found):,} weights.",
            _AGAIN,
        )
    weights = weights_of(model)
    dtypes: dict[str, StoredTensor] = {}
    for weight in weights:
        placed = found.get(weight.name)
        if placed is None or placed.shape != weight.shape:
            there = f"has {list(placed.shape)}" if placed else "is missing"
            raise RefusedError(
                f"{source}: {weight.name} {there}, and a {model.family} model of this config.json has "
                f"{list(weight.shape)}.",
                _AGAIN,
            )
        first = dtypes.setdefault(weight.key, placed)
        if first.dtype != placed.dtype:
            raise RefusedError(
                f"{source}: {placed.name} is {dtype_name(placed.dtype)}, but {first.name} is "
                f"{dtype_name(first.dtype)}; both are parts of Megatron's {weight.key}.",
                "save the model in one dtype: from_pretrained(..., dtype=...), then save_pretrained.",
            )
    expected = {weight.name for weight in weights}
    head = FAMILIES[model.family].names.head
    unknown = [name for name in found if name not in expected and not name.endswith(UNUSED)]
    if model.tied and head in unknown:
        unknown.remove(head)
        _refuse_other_head(source, found[head], found[weights[0].name])
    behind = tuple(f"{FAMILIES[model.family].names.layer}.{model.layers + n}." for n in range(model.predictions))
    left_out = [name for name in unknown if name.startswith(behind)] if behind else []
    unknown = [name for name in unknown if name not in left_out]
    if unknown:
        raise RefusedError(
            f"{source} holds {shown(unknown[0])}, but Megatron has no tensor for it.", "import another model."
        )
    return PlannedImport(model, {name: found[name] for name in expected}, left_out)


def _with_prefix(found: dict[str, FileTensor], names: WeightNames) -> dict[str, FileTensor]:
    """Return the weights under the names of a whole model; those of one without its head lack the common prefix."""
    prefix = f"{names.embedding.split('.')[0]}."
    if names.embedding in found or names.embedding.removeprefix(prefix) not in found:
        return found
    return {name if name == names.head else f"{prefix}{name}": placed for name, placed in found.items()}


def _refuse_other_head(source: Path, head: StoredTensor, embedding: StoredTensor) -> None:
    """Refuse an output layer of its own beside ``tie_word_embeddings``; transformers computes with it all the same."""
    rows = head.shape[0] if head.shape else 0
    same = head.shape == embedding.shape and head.dtype == embedding.dtype
    blocks = row_blocks(0, rows, elements(head.shape[1:]) * head.dtype.itemsize) if same else ()
    if not same or not all(torch.equal(head.read(*block), embedding.read(*block)) for block in blocks):
        raise RefusedError(
            f"{source}: tie_word_embeddings is true, but {head.name} differs from {embedding.name}.",
            "set tie_word_embeddings to false in a copy of config.json if the model was trained so.",
        )


def write_import(
    planned: PlannedImport, target: Path, *, verify: Callable[[Path], None] = lambda hidden: None
) -> Imported:
    """Write the folder ``target``: the checkpoint and the tracker.

    A padding row is the mean of the real rows, so its logit is the mean logit. All padding rows together then add at
    most their share of the vocabulary to the sum in the softmax, and next to nothing if the model prefers some tokens.

    Args:
        planned: The import.
        target: A folder that does not exist yet.
        verify: Called with the hidden folder when all is written; what it raises ends the import.

    Raises:
        RefusedError: as ``staged``, or a weight has values that are NaN or infinite.
        StorageError: no room, or the disk fails; nothing of it is left.
    """
    model = planned.model
    rows = -(-model.vocab // PADDING) * PADDING
    size = sum(elements(placed.shape) * placed.dtype.itemsize for placed in planned.weights.values())
    refuse_full_disk(target, size)
    shapes = megatron_shapes(model, padded=rows)
    of_tensor: defaultdict[tuple[str, tuple[int, ...]], list[Weight]] = defaultdict(list)
    for weight in weights_of(model):
        for part in weight.parts:
            of_tensor[weight.key, part].append(weight)
        if weight.alias:
            of_tensor[weight.alias, weight.index].append(weight)
            shapes[weight.alias] = shapes[weight.key]
    blocks = []
    for (key, index), weights in of_tensor.items():
        shape, dtype = shapes[key], planned.weights[weights[0].name].dtype
        if weights[0].whole:
            blocks.append(Block(key, shape, dtype, index, 0, shape[len(index)]))
        else:
            blocks += blocks_of(key, shape, dtype, index)
    padding: dict[str, Tensor] = {}

    def read(block: Block) -> Tensor:
        return _join(block, of_tensor[block.key, block.index], planned, padding)

    with staged(target) as hidden:
        (hidden / WITHOUT_ITERATION).mkdir()
        write_checkpoint(hidden / WITHOUT_ITERATION, args_of(model), blocks, read, empty_states(blocks))
        write_atomic(hidden / TRACKER, WITHOUT_ITERATION)
        verify(hidden)
    return Imported(target, model, rows, size)


def _refuse_not_finite(values: Tensor, placed: StoredTensor) -> None:
    """Refuse NaN and infinite values. The sum is the fastest sign of them, but can be infinite by itself."""
    if values.numel() and not torch.isfinite(values.sum()) and not all(map(torch.isfinite, values.aminmax())):
        raise RefusedError(f"{placed.file}: {placed.name} has values that are NaN or infinite.", _AGAIN)


def _join(block: Block, weights: list[Weight], planned: PlannedImport, padding: dict[str, Tensor]) -> Tensor:
    """Return the rows of one block of Megatron's tensor, joined from the Hugging Face weights."""
    joined = torch.empty((block.stop - block.start, *block.shape[len(block.index) + 1 :]), dtype=block.dtype)
    for weight in weights:
        placed, at = planned.weights[weight.name], weight.begin
        whole = None
        if weight.whole:
            values = placed.read(block.index[-1], block.index[-1] + 1)[0] if weight.stacked else placed.read()
            whole = weight.to_megatron(values)
        for start, stop in weight.rows:
            first, last = max(start, block.start), min(stop, block.stop)
            if first < last:
                rows = at + first - start, at + last - start
                values = placed.read(*rows) if whole is None else whole[slice(*rows)]
                _refuse_not_finite(values, placed)
                joined[first - block.start : last - block.start] = values
            at += stop - start
    vocab = planned.model.vocab
    if block.key in PADDED and block.stop > vocab:
        if block.key not in padding:
            placed = planned.weights[weights[0].name]
            blocks = row_blocks(0, vocab, elements(placed.shape[1:]) * placed.dtype.itemsize)
            padding[block.key] = mean_row(placed.read(*rows) for rows in blocks)
        joined[max(vocab - block.start, 0) :] = padding[block.key]
    return joined
