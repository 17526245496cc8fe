"""Megatron-Bridge's part of an import, in the process of ``bridge_worker.py``: the description, and the checkpoint.

Bridge skips a weight that it does not find, and one that it has no place for, and says so in its log alone. Here
every value of the model is NaN before Bridge loads, and what Bridge exports again must be what the folder holds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from megatron_lrps.convert.bridge_model import LOADING, bridge_of, describe, model_of_provider, refuse_unknown_bridge
from megatron_lrps.convert.families.config_keys import shown
from megatron_lrps.convert.huggingface_import import PADDING, UNUSED
from megatron_lrps.convert.mapping import PADDED, WORD_EMBEDDING, alias_of, elements
from megatron_lrps.convert.row_blocks import mean_row
from megatron_lrps.convert.safetensors import StoredTensor
from megatron_lrps.convert.torch_dist_write import Block, empty_states, write_checkpoint
from megatron_lrps.convert.weight_files import read_folder
from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron.names import Name

_HEAD = "lm_head.weight"
_OTHER = "import another model."


def describe_folder(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the model of a folder.

    Args:
        asked: ``folder``, a Hugging Face folder.

    Returns:
        ``version`` of Bridge, and what ``Described`` has.

    Raises:
        RefusedError: Bridge does not fit, or has no such model.
    """
    version = refuse_unknown_bridge()
    provider = bridge_of(Path(asked["folder"]), version).to_megatron_provider(load_weights=False)
    return {"version": version, **describe(provider)._asdict()}


def import_weights(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Write the weights of a folder as a torch_dist checkpoint.

    Args:
        asked: ``folder``, a Hugging Face folder; ``output``, an empty folder; ``args``, Megatron's arguments of the
            model by destination.

    Returns:
        ``rows`` of the word embedding, padding included, and ``bytes`` of all weights.

    Raises:
        RefusedError: Bridge does not fit, leaves a weight of the model or of the folder out, or changes a value.
    """
    version = refuse_unknown_bridge()
    folder = Path(asked["folder"])
    found = read_folder(folder)
    bridge = bridge_of(folder, version)
    provider = bridge.to_megatron_provider(load_weights=False)
    provider.should_pad_vocab = False
    with Name(LOADING, "temporary_distributed_context").get()(backend="gloo"):
        from megatron.core.utils import unwrap_model

        model = model_of_provider(provider, _main_dtype(found), version)
        inner = unwrap_model(model)
        _fill_with_nan(inner)
        try:
            bridge.load_hf_weights([model])
        except (ValueError, KeyError, AttributeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise RefusedError(
                f"Megatron-Bridge {version} cannot load the weights of {folder}: {reason}", _OTHER
            ) from None
        parts = _parts_of(inner)
        exported = bridge.export_hf_weights([model], cpu=True, show_progress=False)
        embedding = next(values for block, values in parts if block.key == WORD_EMBEDDING)
        tied = bool(getattr(provider, "share_embeddings_and_output_weights", False))
        refuse_other_weights(exported, found, folder, embedding=embedding if tied else None)
        return _write(parts, asked)


def refuse_other_weights(
    exported: Iterable[tuple[str, Tensor]], found: Mapping[str, StoredTensor], folder: Path, *, embedding: Tensor | None
) -> None:
    """Refuse an import from which Bridge does not export what it has read, name by name and value by value.

    Args:
        exported: The weights that Bridge exports of the loaded model.
        found: Those of the folder, by name.
        folder: The folder, for messages.
        embedding: The word embedding [tokens, width], where it is the output layer too.

    Raises:
        RefusedError: naming the first weight that is not the same.
    """
    left = {name for name in found if not name.endswith(UNUSED)}
    for name, weight in exported:
        stored = found.get(name)
        if stored is None:
            if embedding is not None and name == _HEAD:
                continue
            raise RefusedError(f"{folder} does not hold {shown(name)}, which Megatron-Bridge exports of it.", _OTHER)
        left.discard(name)
        _refuse_changed(name, stored, weight, folder)
    if embedding is not None and _HEAD in left:
        left.remove(_HEAD)
        _refuse_changed(_HEAD, found[_HEAD], embedding, folder)
    if left:
        raise RefusedError(f"{folder} holds {shown(min(left))}, which Megatron-Bridge does not read.", _OTHER)


def _refuse_changed(name: str, stored: StoredTensor, weight: Tensor, folder: Path) -> None:
    same = stored.shape == tuple(weight.shape)
    if not same or not torch.equal(stored.read().float(), weight.detach().float()):
        raise RefusedError(
            f"{folder}: {shown(name)} comes out of Megatron-Bridge with other values than it has in the folder.",
            "save the model in one dtype: from_pretrained(..., dtype=...), then save_pretrained.",
        )


def _main_dtype(found: Mapping[str, StoredTensor]) -> torch.dtype:
    """Return the dtype that most values have."""
    count: Counter[torch.dtype] = Counter()
    for tensor in found.values():
        count[tensor.dtype] += elements(tensor.shape)
    return count.most_common(1)[0][0]


def _fill_with_nan(model: Any) -> None:
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if isinstance(value, Tensor) and value.is_floating_point() and "_extra_state" not in key:
                value.fill_(torch.nan)


def _parts_of(model: Any) -> list[tuple[Block, Tensor]]:
    """Return the parts of Megatron's sharded tensors, each with its values [rows, ...].

    Raises:
        RefusedError: Bridge has not loaded one.
    """
    from megatron.core.dist_checkpointing.dict_utils import nested_values
    from megatron.core.dist_checkpointing.mapping import ShardedTensor, apply_factories

    states = model.sharded_state_dict()
    apply_factories(states)
    parts: dict[tuple[Any, ...], tuple[Block, Tensor]] = {}
    for shard in nested_values(states):
        if not isinstance(shard, ShardedTensor) or "_extra_state" in shard.key:
            continue
        before, values = shard.prepend_axis_num, shard.data.detach()
        if not bool(torch.isfinite(values).all()):
            raise RefusedError(
                f"Megatron-Bridge finds no values of Megatron's {shard.key} in the folder, or values that are NaN or "
                "infinite.",
                _OTHER,
            )
        index, start = tuple(shard.global_offset[:before]), shard.global_offset[before]
        whole = (*(1 for _ in index), values.shape[0], *shard.global_shape[before + 1 :])
        assert (*(1 for _ in index), *values.shape) == whole, shard.key
        block = Block(shard.key, tuple(shard.global_shape), values.dtype, index, start, start + values.shape[0])
        parts.setdefault((block.key, index, start), (block, values))
    return list(parts.values())


def _write(parts: list[tuple[Block, Tensor]], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Write the checkpoint: with padding rows, as in every import, and with both names of a norm that has two."""
    values: dict[Block, Tensor] = {}
    rows = 0
    for block, part in parts:
        if block.key in PADDED:
            rows = -(-block.stop // PADDING) * PADDING
            shape = (rows, *block.shape[1:])
            values[Block(block.key, shape, block.dtype, (), 0, block.stop)] = part
            if rows > block.stop:
                padding = mean_row([part]).to(block.dtype).expand(rows - block.stop, *part.shape[1:])
                values[Block(block.key, shape, block.dtype, (), block.stop, rows)] = padding
            continue
        values[block] = part
        if alias := alias_of(block.key, latent=bool(asked["args"].get("multi_latent_attention"))):
            values[Block(alias, block.shape, block.dtype, block.index, block.start, block.stop)] = part
    args = {name: tuple(value) if name == "window_size" and value else value for name, value in asked["args"].items()}
    write_checkpoint(
        Path(asked["output"]), args, list(values), lambda block: values[block].contiguous(), empty_states(values)
    )
    return {"rows": rows, "bytes": sum(part.nbytes for _, part in parts)}
