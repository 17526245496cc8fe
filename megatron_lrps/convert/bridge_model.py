"""Megatron-Bridge's classes in a process of their own: which release it is, the description of a model, and the model.

Every name of Bridge's is checked before it is used. Nothing of Bridge is changed, and no code of a model's folder
is run.
"""

import dataclasses
import enum
import functools
import importlib
from pathlib import Path
from typing import Any

import torch

from megatron_lrps.convert.bridge_arguments import PLAIN_MODELS, Described
from megatron_lrps.convert.weight_files import INDEX, ONE_FILE
from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron.names import Name

OLDEST = (0, 4)
"""The oldest release whose signatures the tests compare with."""
_FIX = "install megatron-bridge 0.4 to 0.6, or run in a NeMo container that has it."
_BRIDGE = "megatron.bridge.models.conversion.auto_bridge"
LOADING = "megatron.bridge.training.model_load_save"
_CALLED = (
    Name(_BRIDGE, "AutoBridge.from_hf_config", ("config",)),
    Name(_BRIDGE, "AutoBridge.from_hf_pretrained", ("path",)),
    Name(_BRIDGE, "AutoBridge.to_megatron_provider", ("load_weights",)),
    Name(_BRIDGE, "AutoBridge.load_hf_weights", ("model",)),
    Name(_BRIDGE, "AutoBridge.export_hf_weights", ("model", "cpu", "show_progress")),
    Name(LOADING, "temporary_distributed_context", ("backend",)),
    Name(LOADING, "load_model_config", ("checkpoint_path",)),
)
"""What is called, with the parameters that are given."""
_PROVIDED = ("wrap_with_ddp", "use_cpu_initialization")
"""Those of the provider's ``provide_distributed_model``."""
_COMMON = ("megatron.core.", *PLAIN_MODELS, *(f"megatron.bridge.models.{each}" for each in ("model_", "transformer_")))
"""How the modules of classes begin that all families share."""


def refuse_unknown_bridge() -> str:
    """Return the version of the installed Bridge; refuse one that cannot be imported or has other signatures."""
    try:
        version = str(importlib.import_module("megatron.bridge.package_info").__version__)
        for module in ("megatron.bridge.models", _BRIDGE, LOADING):  # the first registers the families
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


def bridge_of(reference: Path, version: str) -> Any:
    """Return Bridge's AutoBridge of a folder, without reading its weights; raises RefusedError."""
    from transformers import AutoConfig

    kind = Name(_BRIDGE, "AutoBridge").get()
    has_weights = any((reference / name).is_file() for name in (ONE_FILE, INDEX))
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


def model_of_provider(provider: Any, dtype: torch.dtype, version: str) -> Any:
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


def describe(provider: Any) -> Described:
    """Return a provider of Bridge's in plain values."""
    if not dataclasses.is_dataclass(provider) or isinstance(provider, type):
        raise RefusedError(
            f"Megatron-Bridge describes the model by a {type(provider).__name__}, and only a provider can be compared.",
            _FIX,
        )
    # What only a class of one family has, or sets otherwise, has no default: an argument must stand for it.
    plain = [each for each in type(provider).__mro__ if each.__module__.startswith(_COMMON)]
    fields = [field for each in reversed(plain) if dataclasses.is_dataclass(each) for field in dataclasses.fields(each)]
    defaults = {
        field.name: _plain(field.default_factory() if callable(field.default_factory) else field.default)
        for field in fields
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    }
    values = {field.name: _plain(getattr(provider, field.name, None)) for field in dataclasses.fields(provider)}
    built_by = getattr(getattr(type(provider), "provide", None), "__module__", "")
    return Described(values, defaults, built_by)


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
