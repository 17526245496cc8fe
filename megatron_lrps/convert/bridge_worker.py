"""Megatron-Bridge's part of an export or import: ``python -m megatron_lrps.convert.bridge_worker`` does the work.

It runs in a separate process, of one rank on gloo with the model in the CPU's memory, as Bridge's own ``export_ckpt``
does. It reads its task as JSON on stdin, and prints one line of JSON: what it made, or why it refused. Nothing of
Bridge is changed, and no code of a model's folder is run. Every name of Bridge's is checked before it is used.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from megatron_lrps.convert.bridge_arguments import refuse_other_model, refuse_other_provider
from megatron_lrps.convert.bridge_model import LOADING, bridge_of, describe, model_of_provider, refuse_unknown_bridge
from megatron_lrps.convert.bridge_to_megatron import describe_folder, import_weights
from megatron_lrps.convert.huggingface_export import FLOATS, IGNORED
from megatron_lrps.convert.mapping import PADDED, stored_key
from megatron_lrps.convert.safetensors import TensorEntry, dtype_name, write_file
from megatron_lrps.convert.torch_dist import OpenCheckpoint, open_checkpoint
from megatron_lrps.convert.weight_files import INDEX, ONE_FILE
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import write_atomic
from megatron_lrps.training.megatron.names import Name


def main() -> None:
    """Do the task that stands on stdin."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Bridge prints
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # of a job that this process is no rank of
        os.environ.pop(name, None)
    asked = json.load(sys.stdin)
    try:
        answer = _TASKS[asked["do"]](asked)
    except RefusedError as error:
        answer = {"refused": [error.what, error.fix]}
    print(json.dumps(answer), file=out, flush=True)


def export(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Write the weights of a checkpoint as Bridge converts them.

    Args:
        asked: ``checkpoint``; ``reference``, a folder with the config.json of the model; ``output``, an empty folder;
            ``dtype``, torch's name of the dtype to write or None; ``shard_bytes``; ``own``, whether Bridge has saved
            the checkpoint.

    Returns:
        ``version`` of Bridge, ``tensors``, ``bytes``, ``files``, and ``dtype``, torch's name of the first weight's.

    Raises:
        RefusedError: Bridge does not fit, the checkpoint is of another model than config.json, or a weight of one is
            not in the other.
    """
    version = refuse_unknown_bridge()
    reference = Path(asked["reference"])
    opened = open_checkpoint(Path(asked["checkpoint"]), of_bridge=asked["own"])
    bridge = bridge_of(reference, version)
    provider = bridge.to_megatron_provider(load_weights=False)
    config = str(reference / "config.json")
    if asked["own"]:
        saved, _ = Name(LOADING, "load_model_config").get()(str(opened.folder))
        refuse_other_provider(describe(saved), describe(provider), config)
    else:
        refuse_other_model(opened.args, describe(provider), config)
    with Name(LOADING, "temporary_distributed_context").get()(backend="gloo"):
        model = model_of_provider(provider, opened.tensors[PADDED[0]].dtype, version)
        _load(model, opened, config)
        weights = bridge.export_hf_weights([model], cpu=True, show_progress=False)
        rounded = getattr(torch, asked["dtype"]) if asked["dtype"] else None
        written = write_weights(weights, Path(asked["output"]), dtype=rounded, shard_bytes=asked["shard_bytes"])
    return {"version": version, **written}


def write_weights(
    weights: Iterator[tuple[str, Tensor]], folder: Path, *, dtype: torch.dtype | None, shard_bytes: int
) -> dict[str, Any]:
    """Write weights in the order in which they come, into files of at most ``shard_bytes`` unless one alone is larger.

    Raises:
        RefusedError: a weight comes twice, or is no float.
    """
    place: dict[str, int] = {}
    held: list[tuple[str, Tensor]] = []
    files = size = room = 0
    first = ""

    def write() -> None:
        nonlocal files, room
        if held:
            entries = [TensorEntry(name, tuple(tensor.shape), tensor.dtype) for name, tensor in held]
            write_file(folder / f"{files}.safetensors", entries, iter([tensor for _, tensor in held]))
            files += 1
            held.clear()
        room = shard_bytes

    for name, weight in weights:
        if name in place or weight.dtype not in FLOATS:
            found = "twice" if name in place else f"as {weight.dtype}"
            raise RefusedError(f"Megatron-Bridge exports {name} {found}.", "report it; do not use it.")
        tensor = weight.detach().to(dtype or weight.dtype).contiguous()
        first = first or dtype_name(tensor.dtype)
        if tensor.nbytes > room:
            write()
        place[name] = files
        held.append((name, tensor))
        room -= tensor.nbytes
        size += tensor.nbytes
    write()
    if files == 1:
        (folder / "0.safetensors").rename(folder / ONE_FILE)
    else:
        names = [f"model-{number:05d}-of-{files:05d}.safetensors" for number in range(1, files + 1)]
        for number, name in enumerate(names):
            (folder / f"{number}.safetensors").rename(folder / name)
        where = {name: names[number] for name, number in place.items()}
        index = {"metadata": {"total_size": size}, "weight_map": where}
        write_atomic(folder / INDEX, json.dumps(index, indent=2) + "\n")
    return {"tensors": len(place), "bytes": size, "files": files, "dtype": first}


def _load(model: Any, opened: OpenCheckpoint, config: str) -> None:
    """Load a checkpoint's weights; refuse one that lacks a weight of the model, or holds one that the model lacks."""
    from megatron.core import dist_checkpointing
    from megatron.core.utils import unwrap_model

    inner, folder = unwrap_model(model), str(opened.folder)
    metadata = dist_checkpointing.load_content_metadata(
        preloaded_state_dict=dist_checkpointing.load_common_state_dict(folder)
    )
    states = inner.sharded_state_dict(metadata=metadata)
    sharded = {key: value for key, value in states.items() if "_extra_state" not in key}
    for tensor in sharded.values():
        tensor.key = stored_key(tensor.key, opened.tensors)
    # Megatron calls missing what is not asked for, and unexpected what is not there.
    loaded, unasked, absent = dist_checkpointing.load(sharded, folder, strict="return_all")
    left = [key for key in unasked if key in opened.tensors and not key.startswith(IGNORED)]
    if absent or left:
        found = f"lacks {min(absent)}" if absent else f"holds {min(left)}"
        other = "has" if absent else "lacks"
        raise RefusedError(f"{opened.folder} {found}, which a model of {config} {other}.", "correct the config.json.")
    missing, unexpected = inner.load_state_dict({key: loaded[key] for key in sharded}, strict=False)
    if wrong := [key for key in (*missing, *unexpected) if "_extra_state" not in key]:
        raise RefusedError(f"Megatron does not find {wrong[0]} in {opened.folder}.", "report it.")


_TASKS = {"export": export, "describe": describe_folder, "import": import_weights}


if __name__ == "__main__":
    main()
