"""The weights of a Hugging Face folder: which files hold them, and what is in each file's header.

The header is checked here as its format says, because the safetensors library lets overlapping values and names that
are given twice pass (https://github.com/huggingface/safetensors).
"""

import json
import math
import re
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from megatron_lrps.convert.families.config_keys import shown
from megatron_lrps.convert.mxfp4 import BLOCKS, SCALES
from megatron_lrps.convert.safetensors import DTYPES, FileTensor
from megatron_lrps.errors import RefusedError

ONE_FILE = "model.safetensors"
"""The name of the weights if they are in one file."""
INDEX = "model.safetensors.index.json"
"""The name of the file that says which file each weight is in, if there are several."""
_LONGEST_HEADER = 100_000_000
_AGAIN = "download the model again."
_QUANTIZED = re.compile(r"[FI][48]|U8|F6|E8|C64")


def read_folder(folder: Path) -> dict[str, FileTensor]:
    """Return the weights of a folder by name. As in transformers, other files beside them do not count.

    Raises:
        RefusedError: a file is missing or damaged, or the folder holds something else than a whole model's weights.
    """
    if not folder.is_dir():
        raise RefusedError(f"{folder} is no folder.", "give a Hugging Face folder.")
    if (folder / "adapter_config.json").exists():
        raise RefusedError(
            f"{folder} holds an adapter (adapter_config.json), which transformers adds to the weights.",
            "merge it into its base model with peft (merge_and_unload), or move the adapter's files away.",
        )
    if (folder / ONE_FILE).exists():
        return {tensor.name: tensor for tensor in tensors_of(folder / ONE_FILE)}
    if not (folder / INDEX).exists():
        raise _without_weights(folder)
    placed = _read_index(folder / INDEX)
    found: dict[str, FileTensor] = {}
    for name in sorted(set(placed.values())):
        for tensor in tensors_of(folder / name):
            if placed.get(tensor.name) == name:
                found[tensor.name] = tensor
            elif tensor.name not in placed:
                raise RefusedError(f"{folder / name} holds {shown(tensor.name)}, which {INDEX} does not name.", _AGAIN)
    for weight, name in placed.items():
        if weight not in found:
            raise RefusedError(f"{folder / name} does not hold {shown(weight)}, although {INDEX} says so.", _AGAIN)
    return found


def tensors_of(file: Path) -> list[FileTensor]:
    """Return the tensors of a safetensors file; raises RefusedError if the file is damaged, or is not one."""
    size = _regular_size(file)
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(_LONGEST_HEADER, size - 8):
                raise ValueError(f"its header has {length} bytes and the file {size}")
            header = json.loads(stream.read(length), object_pairs_hook=_once)
            entries = {name: _checked(name, entry) for name, entry in header.items() if name != "__metadata__"}
    except OSError as error:
        raise RefusedError(f"{file} cannot be read: {error.strerror}.", "check the file and its permissions.") from None
    except (ValueError, AttributeError, RecursionError, struct.error) as error:
        raise RefusedError(f"{file} is no whole safetensors file: {shown(str(error))}.", _AGAIN) from None
    for name, (_, kind, _, _) in entries.items():
        if kind not in DTYPES and not (kind == "U8" and name.endswith((BLOCKS, SCALES))):
            quantized = _QUANTIZED.match(kind) is not None
            raise RefusedError(
                f"{file}: {shown(name)} is saved as {shown(kind)}, and only {', '.join(DTYPES)} can be read.",
                "import the model's unquantized (bf16) weights." if quantized else "import another model.",
            )
    kinds = {**DTYPES, "U8": torch.uint8}
    end = 0
    for name, (shape, kind, start, stop) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if start != end or stop - start != math.prod(shape) * kinds[kind].itemsize:
            raise RefusedError(
                f"{file} is no whole safetensors file: the values of {shown(name)} lie from byte {start} to {stop}, "
                f"but those before end at {end} and its shape {list(shape)} needs "
                f"{math.prod(shape) * kinds[kind].itemsize} bytes.",
                _AGAIN,
            )
        end = stop
    if 8 + length + end != size:
        raise RefusedError(f"{file} has {size} bytes, but its header describes {8 + length + end}.", _AGAIN)
    return [
        FileTensor(file=file, name=name, shape=shape, dtype=kinds[kind], begin=8 + length + start)
        for name, (shape, kind, start, _) in entries.items()
    ]


def read_config(file: Path) -> dict[str, Any]:
    """Return the content of a config.json; raises RefusedError if it is missing, damaged, or has a key twice."""
    _regular_size(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise RefusedError(f"{file} cannot be read: {error.strerror}.", "check the file and its permissions.") from None
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{file} is not JSON: {shown(str(error))}.", _AGAIN) from None
    if not isinstance(content, dict):
        raise RefusedError(f"{file} is not a JSON object.", _AGAIN)
    return content


def _regular_size(file: Path) -> int:
    """Return a file's size; refuse a pipe, a device or a folder, which could block or never end."""
    try:
        status = file.stat()
    except OSError as error:
        raise RefusedError(f"{file} cannot be read: {error.strerror}.", "give a whole Hugging Face folder.") from None
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError(f"{file} is no regular file.", "give a whole Hugging Face folder.")
    return status.st_size


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a mapping of JSON's pairs; raises ValueError if a key comes twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {shown(next(name for name in names if names.count(name) > 1))} twice")
    return made


def _checked(name: str, entry: Any) -> tuple[tuple[int, ...], str, int, int]:
    """Return shape, dtype and the bytes where the values start and stop; raises ValueError."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown(name)} does not have exactly dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    whole = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    if not isinstance(kind, str) or len(whole) < 2 or len(offsets) != 2:
        raise ValueError(f"{shown(name)} has a broken dtype, shape or data_offsets")
    if any(type(number) is not int or not 0 <= number < 2**63 for number in whole):
        raise ValueError(f"{shown(name)} has a number in its shape or data_offsets that is not a count")
    return tuple(shape), kind, offsets[0], offsets[1]


def _read_index(file: Path) -> Mapping[str, str]:
    placed = read_config(file).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise RefusedError(f"{file} has no weight_map.", _AGAIN)
    for name in placed.values():
        if not isinstance(name, str) or Path(name).name != name or "\0" in name:
            raise RefusedError(f"{file} names {shown(name)}, which is not a file beside it.", _AGAIN)
    return placed


def _without_weights(folder: Path) -> RefusedError:
    """Return the error for a folder without ``ONE_FILE`` and ``INDEX``, by what is there instead."""
    names = {entry.name for entry in folder.iterdir()}
    neither = f"{folder} has neither {ONE_FILE} nor {INDEX}"
    if other := sorted(name for name in names if name.startswith("consolidated") and name.endswith(".safetensors")):
        return RefusedError(
            f"{neither}, but {other[0]}, whose names and order of rows are the publisher's own.",
            "download the files named model*.safetensors and config.json of the same model.",
        )
    if "adapter_model.safetensors" in names:
        return RefusedError(
            f"{neither}, but an adapter.", "merge it into its base model with peft, and import what that saves."
        )
    if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
        return RefusedError(
            f"{neither}, but weights as a pickle, which could run code.",
            "load them with transformers and save them with save_pretrained, which writes safetensors.",
        )
    if loose := sorted(name for name in names if name.endswith(".safetensors")):
        return RefusedError(
            f"{neither}, but {shown(loose[0])}, which transformers would not read.",
            f"download {INDEX} too, or rename the only file to {ONE_FILE}.",
        )
    return RefusedError(f"{neither}.", "give a Hugging Face folder with safetensors files.")
