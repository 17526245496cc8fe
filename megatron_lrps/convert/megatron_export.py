"""A checkpoint's weights for Megatron again: a torch_dist checkpoint for another layout, or one file.

Nothing needs a Hugging Face counterpart: the tensors are copied under the keys that they have.
"""

import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from megatron_lrps.campaign.checkpoint import TRACKER
from megatron_lrps.convert.huggingface_export import DTYPES, FLOATS, IGNORED, Exported
from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION
from megatron_lrps.convert.hybrid_arguments import without_stages
from megatron_lrps.convert.layout import Layout
from megatron_lrps.convert.mapping import PADDED, WORD_EMBEDDING, elements
from megatron_lrps.convert.model_flags import layer_list
from megatron_lrps.convert.rope_arguments import MSCALES, YARN
from megatron_lrps.convert.row_blocks import ahead, bytes_of, mean_row, row_blocks
from megatron_lrps.convert.safetensors import write_all
from megatron_lrps.convert.staging import refuse_full_disk, staged
from megatron_lrps.convert.torch_dist import OpenCheckpoint
from megatron_lrps.convert.torch_dist_write import Block, blocks_of, reading_ahead, write_checkpoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.megatron_arguments import arguments
from megatron_lrps.storage.files import write_atomic

FILE = "model.pt"
"""The name of the one file."""
_LEADS = re.compile(r"decoder\.layers\.(\d+\.)?(mlp\.experts\.experts\.)?")
_TRUNKS = ("embedding.", "decoder.", "output_layer.")
_LOCAL_NORMS = {
    "self_attention.linear_qkv.layer_norm_": "input_layernorm.",
    "mlp.linear_fc1.layer_norm_": "pre_mlp_layernorm.",
}
"""Megatron's local layer spec has its own names for norms that Transformer Engine puts into linear layers."""
_IN_PARTS = ("mixer.in_proj.weight.", "mixer.conv1d.")
"""Mamba's weights of which a checkpoint has several parts, each with a key of its own."""
_ONE_RANK: dict[str, Any] = {
    **{"virtual_pipeline_model_parallel_size": None, "num_layers_per_virtual_pipeline_stage": None},
    **{"num_virtual_stages_per_pipeline_rank": None, "pipeline_model_parallel_layout": None},
    **{"decoder_first_pipeline_num_layers": None, "decoder_last_pipeline_num_layers": None},
    **{"account_for_embedding_in_pipeline_split": False, "account_for_loss_in_pipeline_split": False},
    "context_parallel_size": 1,
    **{"no_save_optim": True, "no_save_rng": True, "consumed_train_samples": 0, "consumed_valid_samples": 0},
    **{"load": None, "save": None, "pretrained_checkpoint": None, "ckpt_step": None, "iteration": 0},
}
"""Arguments of the training run that have other values for inference."""


_NOT_TAKEN_OVER = (
    *("use_rope_scaling", "rope_scaling_factor", "rotary_seq_len_interpolation_factor", *YARN),
    *("qk_layernorm", "window_size", "window_attn_skip_freq", "no_rope_freq", "moe_shared_expert_gate"),
    *("softmax_type", "quick_geglu", "glu_linear_offset", "activation_func_clamp_value"),
    *("multi_latent_attention", "q_lora_rank", "kv_lora_rank", "qk_head_dim", "qk_pos_emb_head_dim", "v_head_dim"),
    *("rope_type", *MSCALES, "moe_router_num_groups", "moe_router_group_topk"),
)
"""Arguments that ``--use-checkpoint-args`` of megatron-core 0.19 does not read (checkpointing.py)."""


@dataclass(frozen=True, kw_only=True)
class PlannedWeights:
    """An export to Megatron that has been found possible. Nothing is written yet.

    Attributes:
        checkpoint: The checkpoint to export.
        args: Megatron's arguments for the export.
        vocab: The number of tokens of the tokenizer.
        padded: The rows of the word embedding in the export.
        dtype: The dtype to write, or None to keep each weight as it was saved.
    """

    checkpoint: OpenCheckpoint
    args: Mapping[str, Any]
    vocab: int
    padded: int
    dtype: torch.dtype | None
    _padding: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def blocks(self) -> list[Block]:
        """Every block of every tensor, in order."""
        return list(itertools.chain.from_iterable(itertools.starmap(blocks_of, self.whole)))

    @property
    def whole(self) -> Iterator[tuple[str, tuple[int, ...], torch.dtype, tuple[int, ...]]]:
        """Every part of every tensor, one for each layer and expert: key, shape, dtype and index."""
        for key, stored in self.checkpoint.tensors.items():
            if key.startswith(IGNORED):
                continue
            shape = (self.padded, *stored.shape[1:]) if key in PADDED else stored.shape
            rounded = self.dtype is not None and stored.dtype in FLOATS and not key.endswith("expert_bias")
            dtype = self.dtype if self.dtype is not None and rounded else stored.dtype
            for index in itertools.product(*map(range, shape[: leading_dimensions(key)])):
                yield key, shape, dtype, index

    @property
    def flags(self) -> list[str]:
        """The flags that Megatron needs beside --load to build this model."""
        flags = ["--use-checkpoint-args", "--use-mp-args-from-checkpoint-args"]
        epsilon = self.args.get("layernorm_epsilon", self.args.get("norm_epsilon", 1e-5))
        if epsilon != 1e-5:
            flags += ["--norm-epsilon", str(epsilon)]
        if not self.args.get("swiglu") and not self.args.get("bias_gelu_fusion", True):
            flags.append("--no-bias-gelu-fusion")
        for name in _NOT_TAKEN_OVER:
            value = self.args.get(name)
            if value and value != arguments()[name].default:
                flags.append(f"--{name.replace('_', '-')}")
                if value is not True:
                    flags.append(_flag_value(value))
        if self.args.get("yarn_correction_range_round_to_int") is False:
            flags.append("--no-yarn-correction-range-round-to-int")
        split = self.args["expert_tensor_parallel_size"]
        if self.args.get("num_experts") and split != self.args["tensor_model_parallel_size"]:
            flags += ["--expert-tensor-parallel-size", str(split)]
        return flags

    @property
    def elements(self) -> int:
        """The number of values of all weights."""
        return sum(elements(block.sizes) for block in self.blocks)

    @property
    def bytes(self) -> int:
        """The size of all weights."""
        return sum(elements(block.sizes) * block.dtype.itemsize for block in self.blocks)

    def read(self, block: Block) -> Tensor:
        """Return a block's values, [rows, ...]; raises as ``OpenCheckpoint.read``."""
        there = self.checkpoint.tensors[block.key].shape[len(block.index)]
        stop = min(block.stop, there)
        if block.stop <= there:
            return self.checkpoint.read(block.key, block.index, block.start, stop).to(block.dtype)
        own = self.checkpoint.read(block.key, block.index, min(block.start, stop), stop).to(block.dtype)
        row = self._padding_row(block.key).to(block.dtype)
        return torch.cat([own, row.expand(block.stop - block.start - len(own), *row.shape)])

    def _padding_row(self, key: str) -> Tensor:
        """Return a row for no token: the last padding row, which training has pushed down, or else the mean row."""
        if key not in self._padding:
            stored, read = self.checkpoint.tensors[key], self.checkpoint.read
            rows = stored.shape[0]
            if rows > self.vocab:
                self._padding[key] = read(key, (), rows - 1, rows)[0]
            else:
                blocks = row_blocks(0, rows, elements(stored.shape[1:]) * stored.dtype.itemsize)
                self._padding[key] = mean_row(read(key, (), *block) for block in blocks)
        return self._padding[key]


def _flag_value(value: Any) -> str:
    if isinstance(value, list):  # one number for each layer
        return layer_list(value)
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def leading_dimensions(key: str) -> int:
    """Return how many of a tensor's dimensions count layers and experts."""
    match = _LEADS.match(key)
    return (match[1] is None) + (match[2] is not None) if match else 0


def plan_weights(checkpoint: OpenCheckpoint, *, vocab: int, layout: Layout, dtype: str | None = None) -> PlannedWeights:
    """Check that a checkpoint can be exported for a layout.

    Args:
        checkpoint: The checkpoint.
        vocab: The number of tokens of the tokenizer.
        layout: The layout that Megatron will load the export with.
        dtype: A key of ``DTYPES``, or None to keep the saved one.

    Raises:
        RefusedError: the layout does not divide the model, or the checkpoint is not as Megatron saves a GPT model.
    """
    args = {key: value for key, value in checkpoint.args.items() if is_plain(value) and not key.startswith("lrps_")}
    stored = checkpoint.tensors.get(WORD_EMBEDDING)
    if stored is None or stored.shape[0] < vocab:
        raise RefusedError(
            f"The tokenizer has {vocab} tokens, but the word embedding of {checkpoint.folder} has "
            f"{stored.shape[0] if stored else 0} rows.",
            "restore the tokenizer that the campaign was trained with.",
        )
    for key, tensor in checkpoint.tensors.items():
        if not key.startswith(IGNORED) and len(tensor.shape) <= leading_dimensions(key):
            raise RefusedError(f"{checkpoint.folder}: {key} has shape {list(tensor.shape)}.", "use another checkpoint.")
    layout.refuse_for(args)
    unit = (args.get("make_vocab_size_divisible_by") or 128) * layout.tensor
    padded = -(-vocab // unit) * unit
    args |= {
        **_ONE_RANK,
        **layout.args,
        "sequence_parallel": bool(args.get("sequence_parallel")) and layout.tensor > 1,
        "padded_vocab_size": padded,
        **without_stages(args),
    }
    if dtype is not None:
        args |= {"bf16": dtype == "bf16", "fp16": False}
    return PlannedWeights(
        checkpoint=checkpoint, args=args, vocab=vocab, padded=padded, dtype=DTYPES[dtype] if dtype else None
    )


def is_plain(value: Any) -> bool:
    """Whether a value of Megatron's arguments is a number, a text, a switch, nothing, or a list of these."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def write_torch_dist(
    weights: PlannedWeights,
    target: Path,
    *,
    around: Callable[[Path], None],
    verify: Callable[[Path], None] = lambda hidden: None,
) -> Exported:
    """Write the folder ``target``: ``release``, Megatron's tracker, and whatever ``around`` puts beside them.

    ``verify`` is called with the hidden folder when all is written; what it raises ends the export.

    Raises:
        RefusedError: as ``staged`` and ``OpenCheckpoint.read``.
        StorageError: there is no room, or the disk fails; nothing of the export is left.
    """
    refuse_full_disk(target, weights.bytes)
    blocks = weights.blocks
    states = {key: partial(weights.checkpoint.read_state, key) for key in weights.checkpoint.states}
    with staged(target) as hidden:
        around(hidden)
        (hidden / WITHOUT_ITERATION).mkdir()
        read = reading_ahead(blocks, weights.read)
        write_checkpoint(hidden / WITHOUT_ITERATION, weights.args, blocks, read, states)
        write_atomic(hidden / TRACKER, WITHOUT_ITERATION)
        verify(hidden)
    return Exported(len({(block.key, block.index) for block in blocks}), weights.bytes, 1)


def write_torch(weights: PlannedWeights, target: Path, *, around: Callable[[Path], None]) -> Exported:
    """Write the folder ``target`` with ``FILE`` and what ``around`` puts beside it; raises as ``write_torch_dist``."""
    names = {(key, index): _name(weights, key, index) for key, _, _, index in weights.whole}
    refuse_full_disk(target, weights.bytes)
    with staged(target) as hidden:
        around(hidden)
        _write_file(hidden / FILE, weights, names)
    return Exported(len(names), weights.bytes, 1)


def _write_file(path: Path, weights: PlannedWeights, names: Mapping[tuple[str, tuple[int, ...]], str]) -> None:
    # Memory that nothing is written to is never taken: torch saves the names and leaves room for the values.
    empty = {
        names[key, index]: torch.empty(shape[len(index) :], dtype=dtype) for key, shape, dtype, index in weights.whole
    }
    content = {"model": empty, "args": weights.args, "checkpoint_version": 3.0, "iteration": 0}
    with torch.serialization.skip_data():
        torch.save(content, path)
    del empty, content
    placed = torch.load(path, map_location="meta", weights_only=True)["model"]
    blocks = weights.blocks
    with path.open("r+b", buffering=0) as file:
        for block, values in zip(blocks, ahead(map(weights.read, blocks)), strict=True):
            begin = placed[names[block.key, block.index]].untyped_storage()._checkpoint_offset
            file.seek(begin + block.start * elements(block.sizes[len(block.index) + 1 :]) * block.dtype.itemsize)
            write_all(file.fileno(), bytes_of(values))
        os.fsync(file.fileno())


def _name(weights: PlannedWeights, key: str, index: tuple[int, ...]) -> str:
    """Return the name in the trained model's own ``state_dict()`` if one rank holds all of it."""
    match = _LEADS.match(key)
    if not key.startswith(_TRUNKS):
        raise RefusedError(
            f"{weights.checkpoint.folder} holds {key}, which has no known name in a single file.",
            "export it with --format torch_dist.",
        )
    if match is None:
        return key
    layer, rest = match[1] or f"{index[0]}.", key[match.end() :]
    if rest.startswith(_IN_PARTS):
        raise RefusedError(
            f"{weights.checkpoint.folder} holds {key}, a part of a Mamba layer's weight, which one file has whole.",
            "export it with --format torch_dist.",
        )
    if match[2] is not None:
        if weights.args.get("moe_grouped_gemm"):
            return f"decoder.layers.{layer}mlp.experts.{rest}{index[-1]}"
        return f"decoder.layers.{layer}mlp.experts.local_experts.{index[-1]}.{rest}"
    if weights.args.get("transformer_impl") == "local":
        for fused, apart in _LOCAL_NORMS.items():
            if rest.startswith(fused):
                rest = apart + rest.removeprefix(fused)
    return f"decoder.layers.{layer}{rest}"
