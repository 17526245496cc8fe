"""A Hugging Face folder to a torch_dist checkpoint of weights, which a campaign's first path starts from.

Megatron knows checkpoints without an iteration: a folder ``release``, and a tracker that names it. This is one.
"""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from megatron_lrps.campaign.checkpoint import TRACKER
from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.huggingface_config import model_of_config
from megatron_lrps.convert.mapping import PADDED, Weight, elements, megatron_shapes, weights_of
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.convert.row_blocks import mean_row, row_blocks
from megatron_lrps.convert.safetensors import FileTensor, read_folder
from megatron_lrps.convert.staging import refuse_full_disk, staged
from megatron_lrps.convert.torch_dist_write import Block, blocks_of, empty_states, write_checkpoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import read_json, write_atomic

WITHOUT_ITERATION = "release"
"""Megatron's name for a checkpoint without an iteration, both as folder and in the tracker."""
PADDING = 1024
"""The rows of the word embedding are a multiple of this: Megatron's default of 128 for each of eight tensor ranks."""
_UNUSED = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")
"""Endings of the names of weights that older versions of transformers saved, but that are not parameters."""


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
    """An import that has been found possible. Nothing is written yet."""

    model: Model
    weights: dict[str, FileTensor]


def plan_import(source: Path) -> PlannedImport:
    """Read a folder, and check that Megatron has a place for all of it.

    Raises:
        RefusedError: naming the key or the weight that has no place in Megatron, is missing, or has another shape.
    """
    config_file = source / "config.json"
    config = read_json(config_file)
    if config is None:
        raise RefusedError(f"{config_file} is missing, or is not a JSON object.", "give a Hugging Face folder.")
    model = model_of_config(config, str(config_file))
    found = read_folder(source)
    expected = {weight.name: weight.shape for weight in weights_of(model)}
    for name, shape in expected.items():
        if name not in found or found[name].shape != shape:
            there = f"has {list(found[name].shape)}" if name in found else "is missing"
            raise RefusedError(
                f"{source}: {name} {there}, and a {model.family} model of this config.json has {list(shape)}.",
                "download the model again.",
            )
    tied = ("lm_head.weight",) if model.tied else ()
    unknown = [name for name in found if name not in expected and not name.endswith(_UNUSED) and name not in tied]
    if unknown:
        raise RefusedError(f"{source} holds {unknown[0]}, but Megatron has no tensor for it.", "import another model.")
    return PlannedImport(model, {name: found[name] for name in expected})


def write_import(planned: PlannedImport, target: Path) -> Imported:
    """Write the folder ``target``: the checkpoint and the tracker.

    A padding row is the mean of the real rows, so its logit is the mean logit. All padding rows together then add at
    most their share of the vocabulary to the sum in the softmax, and next to nothing if the model prefers some tokens.

    Args:
        planned: The import.
        target: A folder that does not exist yet.

    Raises:
        RefusedError: as ``staged``.
        StorageError: no room, or the disk fails; nothing of it is left.
    """
    model = planned.model
    rows = -(-model.vocab // PADDING) * PADDING
    size = sum(elements(placed.shape) * placed.dtype.itemsize for placed in planned.weights.values())
    refuse_full_disk(target, size)
    shapes = megatron_shapes(model, padded=rows)
    of_tensor: defaultdict[tuple[str, tuple[int, ...]], list[Weight]] = defaultdict(list)
    for weight in weights_of(model):
        of_tensor[weight.key, weight.index].append(weight)
    blocks = []
    for (key, index), weights in of_tensor.items():
        shape, dtype = shapes[key], planned.weights[weights[0].name].dtype
        if weights[0].transposed:
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
    return Imported(target, model, rows, size)


def _join(block: Block, weights: list[Weight], planned: PlannedImport, padding: dict[str, Tensor]) -> Tensor:
    """Return the rows of one block of Megatron's tensor, joined from the Hugging Face weights."""
    joined = torch.empty((block.stop - block.start, *block.shape[len(block.index) + 1 :]), dtype=block.dtype)
    for weight in weights:
        placed, at = planned.weights[weight.name], 0
        whole = placed.read().t() if weight.transposed else None
        for start, stop in weight.rows:
            first, last = max(start, block.start), min(stop, block.stop)
            if first < last:
                rows = at + first - start, at + last - start
                values = placed.read(*rows) if whole is None else whole[slice(*rows)]
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
