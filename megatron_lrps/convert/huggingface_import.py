"""A Hugging Face folder to a torch_dist checkpoint of weights, which a campaign's first path starts from.

The checkpoint is Megatron's kind without an iteration: a folder ``release``, and a tracker that says so.
"""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from megatron_lrps.campaign.folders import TRACKER
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
"""Megatron's name of a checkpoint without an iteration, as folder and in the tracker."""
PADDING = 1024
"""Rows of the word embedding are filled up to a multiple: 128, Megatron's default, for each of eight tensor ranks."""
_UNUSED = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")
"""Ends of weights of older transformers that are no parameters."""


class Imported(NamedTuple):
    """What was written.

    Attributes:
        folder: Megatron's ``--pretrained-checkpoint``.
        model: What it is.
        rows: Of the word embedding, padding included.
        bytes: Of all weights.
    """

    folder: Path
    model: Model
    rows: int
    bytes: int


class PlannedImport(NamedTuple):
    """A Hugging Face folder that has been found to be importable: nothing is written yet."""

    source: Path
    model: Model
    weights: dict[str, FileTensor]


def plan_import(source: Path) -> PlannedImport:
    """Read what a folder holds.

    Raises:
        RefusedError: naming the key or the weight that has no place in Megatron, or is missing or of another shape.
    """
    config_file = source / "config.json"
    config = read_json(config_file)
    if config is None:
        raise RefusedError(f"{config_file} is missing, or no JSON object.", "name a Hugging Face folder.")
    model = model_of_config(config, str(config_file))
    found = read_folder(source)
    expected = {weight.name: weight.shape for weight in weights_of(model)}
    for name, shape in expected.items():
        if name not in found or found[name].shape != shape:
            there = f"has {list(found[name].shape)}" if name in found else "is missing"
            raise RefusedError(
                f"{source}: {name} {there}, and a {model.family} model of this config.json has {list(shape)}.",
                "fetch the model again.",
            )
    tied = ("lm_head.weight",) if model.tied else ()
    unknown = [name for name in found if name not in expected and not name.endswith(_UNUSED) and name not in tied]
    if unknown:
        raise RefusedError(f"{source} holds {unknown[0]}, which Megatron has no tensor for.", "name another model.")
    return PlannedImport(source, model, {name: found[name] for name in expected})


def write_import(planned: PlannedImport, target: Path) -> Imported:
    """Write the folder ``target``: ``release`` and the tracker.

    A padding row is the mean of the real ones. Its logit is the mean logit, so that all of them together add at most
    their share of the vocabulary to what the softmax sums up, and next to nothing where a model prefers some tokens.

    Args:
        planned: What to write.
        target: A folder that does not exist yet.

    Raises:
        RefusedError: as ``staged``.
        StorageError: no room, or the disk refuses; nothing of it is left.
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
    """Rows of one part of Megatron's tensor, out of the Hugging Face weights that they are."""
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
