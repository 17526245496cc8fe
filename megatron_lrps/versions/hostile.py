"""Refusing a checkpoint that would run code when it is loaded.

A torch_dist checkpoint's ``.metadata`` is a pickle, which torch loads as it is, and a pickle may call any function
by name. Here it is read with inert stand-ins in place of everything it names, and only the names that torch and
Megatron write are accepted. The rest of a checkpoint is loaded weights-only.
"""

import pickle
from pathlib import Path
from typing import Any

from megatron_lrps.errors import RefusedError

_DTYPES = (
    *("bool", "bfloat16", "float16", "float32", "float64", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)

KNOWN: frozenset[tuple[str, str]] = frozenset(
    [("torch", name) for name in ("Size", "device", *_DTYPES)]
    + [("torch.serialization", "_get_layout"), ("collections", "OrderedDict"), ("pathlib", "PosixPath")]
    + [("torch.distributed.checkpoint.filesystem", name) for name in ("_StorageInfo", "_StoragePrefix")]
    + [
        ("torch.distributed.checkpoint.metadata", name)
        for name in (
            "BytesStorageMetadata",
            "ChunkStorageMetadata",
            "Metadata",
            "MetadataIndex",
            "StorageMeta",
            "TensorProperties",
            "TensorStorageMetadata",
            "_MEM_FORMAT_ENCODING",
        )
    ]
    + [
        ("torch.distributed.checkpoint.planner", name)
        for name in ("BytesIOWriteData", "SavePlan", "TensorWriteData", "WriteItem", "WriteItemType")
    ]
)
"""(module, name) of what torch 2.13 and megatron-core 0.19 write into a ``.metadata``."""


class _Inert:
    """Stands in for every class and function: whatever is done with it does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise _UnknownNameError(f"{module}.{name}")
        return _Inert

    def persistent_load(self, pid: Any) -> Any:
        raise _UnknownNameError(f"a persistent object {pid!r}")


class _UnknownNameError(Exception):
    pass


def refuse_code(checkpoint: Path) -> None:
    """Refuse a checkpoint whose ``.metadata`` names anything but torch's own records; nothing in it is executed.

    Raises:
        RefusedError: naming what it would call, or that it is no pickle.
    """
    file = checkpoint / ".metadata"
    mend = "do not load it; restore the checkpoint from a copy that you trust, or move it away."
    try:
        with file.open("rb") as stream:
            _Reader(stream).load()
    except _UnknownNameError as error:
        raise RefusedError(
            f"{file} asks for {error}, which no checkpoint needs: loading it could run foreign code.", mend
        ) from None
    except Exception as error:  # a pickle can fail with any error at all
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RefusedError(f"{file} cannot be read: {reason}.", mend) from None
