"""Megatron-Bridge's part of an export: ``python -m megatron_lrps.convert.bridge_worker`` does the work.

It runs in a separate process, of one rank on gloo with the model in the CPU's memory, as Bridge's own ``export_ckpt``
does. It reads its task as JSON on stdin, and prints one line of JSON: what it made, or why it refused. Nothing of
Bridge is changed, and no code of a model's folder is run. Every name of Bridge's is checked before it is used.
"""

import dataclasses
import enum
import functools
import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from megatron_lrps.convert.bridge_arguments import Described, refuse_other_model, refuse_other_provider
from megatron_lrps.convert.huggingface_export import FLOATS, IGNORED
from megatron_lrps.convert.mapping import PADDED, stored_key
from megatron_lrps.convert.safetensors import TensorEntry, write_file
from megatron_lrps.convert.torch_dist import OpenCheckpoint, open_checkpoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import write_atomic
from megatron_lrps.training.megatron.names import Name

OLDEST = (0, 4)
"""The oldest release whose signatures the tests compare with."""
_FIX = "install megatron-bridge 0.4 to 0.6, or run in a NeMo container that has it."
_BRIDGE = "megatron.bridge.models.conversion.auto_bridge"
_LOADING = "megatron.bridge.training.model_load_save"
_CALLED = (
    Name(_BRIDGE, "AutoBridge.from_hf_config", ("config",)),
    Name(_BRIDGE, "AutoBridge.from_hf_pretrained", ("path",)),
    Name(_BRIDGE, "AutoBridge.to_megatron_provider", ("load_weights",)),
    Name(_BRIDGE, "AutoBridge.export_hf_weights", ("model", "cpu", "show_progress")),
    Name(_LOADING, "temporary_distributed_context", ("backend",)),
    Name(_LOADING, "load_model_config", ("checkpoint_path",)),
)
"""What is called, with the parameters that are given."""
_PROVIDED = ("wrap_with_ddp", "use_cpu_initialization")
"""Those of the provider's ``provide_distributed_model``."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""The files by which a folder has weights."""


def main() -> None:
    """Do the task that stands on stdin."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Bridge prints
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # of a job that this process is no rank of
        os.environ.pop(name, None)
    asked = json.load(sys.stdin)
    try:
        answer = export(asked)
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
    version = _refuse_unknown_bridge()
    reference = Path(asked["reference"])
    opened = open_checkpoint(Path(asked["checkpoint"]), of_bridge=asked["own"])
    bridge = _bridge_of(reference, version)
    provider = bridge.to_megatron_provider(load_weights=False)
    config = str(reference / "config.json")
    if asked["own"]:
        saved, _ = Name(_LOADING, "load_model_config").get()(str(opened.folder))
        refuse_other_provider(describe(saved), describe(provider), config)
    else:
        refuse_other_model(opened.args, describe(provider), config)
    with Name(_LOADING, "temporary_distributed_context").get()(backend="gloo"):
        model = _model_of(provider, opened.tensors[PADDED[0]].dtype, version)
        _load(model, opened, config)
        weights = bridge.export_hf_weights([model], cpu=True, show_progress=False)
        rounded = getattr(torch, asked["dtype"]) if asked["dtype"] else None
        written = write_weights(weights, Path(asked["output"]), dtype=rounded, shard_bytes=asked["shard_bytes"])
    return {"version": version, **written}


def describe(provider: Any) -> Described:
    """Return a provider of Bridge's in plain values."""
    if not dataclasses.is_dataclass(provider) or isinstance(provider, type):
        raise RefusedError(
            f"Megatron-Bridge describes the model by a {type(provider).__name__}, and only a provider can be compared.",
            _FIX,
        )
    fields = dataclasses.fields(provider)
    defaults = {
        field.name: _plain(field.default_factory() if callable(field.default_factory) else field.default)
        for field in fields
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    }
    values = {field.name: _plain(getattr(provider, field.name, None)) for field in fields}
    built_by = getattr(getattr(type(provider), "provide", None), "__module__", "")
    return Described(values, defaults, built_by)


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
        first = first or str(tensor.dtype).removeprefix("torch.")
        if tensor.nbytes > room:
            write()
        place[name] = files
        held.append((name, tensor))
        room -= tensor.nbytes
        size += tensor.nbytes
    write()
    if files == 1:
        (folder / "0.safetensors").rename(folder / WEIGHTS[0])
    else:
        names = [f"model-{number:05d}-of-{files:05d}.safetensors" for number in range(1, files + 1)]
        for number, name in enumerate(names):
            (folder / f"{number}.safetensors").rename(folder / name)
        where = {name: names[number] for name, number in place.items()}
        index = {"metadata": {"total_size": size}, "weight_map": where}
        write_atomic(folder / WEIGHTS[1], json.dumps(index, indent=2) + "\n")
    return {"tensors": len(place), "bytes": size, "files": files, "dtype": first}


def _refuse_unknown_bridge() -> str:
    """Return the version of the installed Bridge; refuse one that cannot be imported or has other signatures."""
    try:
        version = str(importlib.import_module("megatron.bridge.package_info").__version__)
        for module in ("megatron.bridge.models", _BRIDGE, _LOADING):  # the first registers the families
            importlib.import_module(module)
    except ImportError as error:
        raise RefusedError(f"Megatron-Bridge cannot be imported: {error}.", _FIX) from None
    if _series(version) < OLDEST:
        raise RefusedError(f"megatron-bridge is {version}, and 0.4 or later is needed.", _FIX)
    for name in _CALLED:
        name.check(version, _FIX, "megatron-bridge")
    return version


def _series(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])


def _bridge_of(reference: Path, version: str) -> Any:
    """Return Bridge's AutoBridge of a folder, without reading its weights; raises RefusedError."""
    from transformers import AutoConfig

    kind = Name(_BRIDGE, "AutoBridge").get()
    has_weights = any((reference / name).is_file() for name in WEIGHTS)
    if not has_weights and _series(version) < (0, 5):
        raise RefusedError(
            f"{reference} holds no weights, and megatron-bridge {version} reads their names.",
            "give a folder with the weights too, or install megatron-bridge 0.5 or later.",
        )
    try:
        if has_weights:
            return kind.from_hf_pretrained(str(reference))
        return kind.from_hf_config(AutoConfig.from_pretrained(reference, local_files_only=True))
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RefusedError(
            f"Megatron-Bridge {version} has no model for {reference}: {reason}", "give a model that it converts."
        ) from None


def _model_of(provider: Any, dtype: torch.dtype, version: str) -> Any:
    """Build the model in the CPU's memory, in the dtype of the checkpoint; raises RefusedError."""
    method = Name(type(provider).__module__, f"{type(provider).__qualname__}.provide_distributed_model", _PROVIDED)
    method.check(version, _FIX, "megatron-bridge")
    provider.params_dtype = provider.pipeline_dtype = dtype
    provider.bf16, provider.fp16 = dtype is torch.bfloat16, dtype is torch.float16
    provider.perform_initialization = False
    if hasattr(provider, "finalize"):
        provider.finalize()
    model = provider.provide_distributed_model(wrap_with_ddp=False, use_cpu_initialization=True)[0]
    return model.eval()


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


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, functools.partial):
        return _plain(value.func)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, torch.dtype):
        return str(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


if __name__ == "__main__":
    main()
