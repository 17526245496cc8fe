"""Refusing a checkpoint that would run code when it is loaded.

A torch_dist checkpoint's ``.metadata`` is a pickle that torch loads unchecked, and a pickle may call any function by
name. The state of each Transformer Engine FP8 layer is a pickle too, inside a tensor of bytes. Both are read here with
inert stand-ins for everything they name, and only names that torch, Megatron and Transformer Engine write are
accepted. The rest of a checkpoint is loaded weights-only.
"""

import io
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.errors import RefusedError

_DTYPES = (
    *("bool", "bfloat16", "float16", "float32", "float64", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


def _names(by_module: Mapping[str, Iterable[str]]) -> frozenset[tuple[str, str]]:
    return frozenset((module, name) for module, names in by_module.items() for name in names)


_RECORDS = ("BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta")
_CHECKPOINT = "torch.distributed.checkpoint"
KNOWN = _names(
    {
        "torch": ("Size", "device", *_DTYPES),
        "torch.serialization": ("_get_layout",),
        "collections": ("OrderedDict",),
        "pathlib": ("PosixPath",),
        f"{_CHECKPOINT}.filesystem": ("_StorageInfo", "_StoragePrefix"),
        f"{_CHECKPOINT}.metadata": (*_RECORDS, "TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING"),
        f"{_CHECKPOINT}.planner": ("BytesIOWriteData", "SavePlan", "TensorWriteData", "WriteItem", "WriteItemType"),
    }
)
"""(module, name) of the objects that torch 2.13 and megatron-core 0.19 write into a ``.metadata``."""

_STORAGES = (("torch.storage", "_load_from_bytes"), ("megatron.core.safe_globals", "safe_load_from_bytes"))
"""The functions that rebuild a pickled tensor's storage: torch's, and its replacement in megatron-core 0.19."""
_RECIPES = ("DelayedScaling", "Float8BlockScaling", "Float8CurrentScaling", "MXFP8BlockScaling", "NVFP4BlockScaling")
KNOWN_IN_STATES = frozenset(_STORAGES) | _names(
    {
        "torch": ("Size",),
        "torch._utils": ("_rebuild_tensor_v2",),
        "torch._tensor": ("_rebuild_from_type_v2",),
        "torch.storage": ("UntypedStorage",),
        "collections": ("OrderedDict",),
        "megatron.core.extensions.transformer_engine": ("TEDelayedScaling",),
        "transformer_engine.common.recipe": (*_RECIPES, "Format", "MMParams", "QParams", "_FormatHelper"),
    }
)
"""The objects that Transformer Engine pickles for an FP8 layer (mostly delayed scaling), per megatron-core 0.19."""
_UNTRUSTED = "do not load it; restore the checkpoint from a copy that you trust, or move it away."


class Inert:
    """A stand-in for every class and function; any operation on it does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    def __init__(self, stream: Any, known: frozenset[tuple[str, str]]) -> None:
        super().__init__(stream)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise _UnknownNameError(f"{module}.{name}")
        return _read_storage if (module, name) in _STORAGES else Inert

    def persistent_load(self, pid: Any) -> Any:
        raise _UnknownNameError(f"a persistent object {pid!r}")


class _UnknownNameError(Exception):
    pass


def _read_storage(content: bytes) -> Inert:
    """Stand in for torch's function, which would load any object."""
    import torch

    torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return Inert()


def refuse_code(checkpoint: Path) -> None:
    """Refuse a checkpoint whose ``.metadata`` names anything but torch's own records; nothing in it is executed.

    Raises:
        RefusedError: naming what it would call, or saying that it is no pickle.
    """
    file = checkpoint / ".metadata"
    try:
        with file.open("rb") as stream:
            _Reader(stream, KNOWN).load()
    except Exception as error:  # a pickle can fail with any error
        raise _refusal(str(file), error) from None


def refuse_code_in_states(checkpoint: Path) -> None:
    """Refuse a checkpoint with a Transformer Engine state that names anything Transformer Engine does not write.

    Call it after ``refuse_code``. Nothing in a state is executed.

    Raises:
        RefusedError: naming the state and what it would call, or saying that it cannot be read.
    """
    import torch
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    for index, info in FileSystemReader(checkpoint).read_metadata().storage_data.items():
        if not is_state(index.fqn):
            continue
        refuse_foreign_file(checkpoint, info.relative_path)
        file = checkpoint / info.relative_path
        try:
            with file.open("rb") as stream:
                stream.seek(info.offset)
                content = stream.read(info.length)
            saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            if isinstance(saved, torch.Tensor) and saved.numel():
                _Reader(io.BytesIO(saved.numpy().tobytes()), KNOWN_IN_STATES).load()
        except Exception as error:  # as above
            raise _refusal(f"{file}: {index.fqn}", error) from None


def is_state(key: str) -> bool:
    """Whether a checkpoint's key is that of a Transformer Engine layer's state."""
    return "._extra_state" in key and not key.startswith(("optimizer.", "chained_"))


def refuse_foreign_file(checkpoint: Path, name: object) -> None:
    """Refuse a record that names a file outside the checkpoint's own folder; raises RefusedError."""
    if not isinstance(name, str) or Path(name).name != name:
        raise RefusedError(f"{checkpoint / '.metadata'} refers to {name!r}, which is no file of its own.", _UNTRUSTED)


def _refusal(what: str, error: Exception) -> RefusedError:
    if isinstance(error, _UnknownNameError):
        return RefusedError(
            f"{what} asks for {error}, which no checkpoint needs: loading it could run foreign code.", _UNTRUSTED
        )
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return RefusedError(f"{what} cannot be read: {reason}.", _UNTRUSTED)
