"""Unpacked wheels of Megatron-Bridge, whose own loop runs here on a CPU once what it only imports has stand-ins.

``megatron.bridge.models``, ``transformers`` and a dozen others are imported by its training modules and do nothing for
a tiny GPT. A stand-in gives an empty class, or a function that returns nothing, for every name. What trains, saves and
loads is Bridge's own.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WHEELS = "MEGATRON_BRIDGE_WHEELS"
_PACKAGE = "megatron.bridge"
_STOOD_IN = (
    *("comet_ml", "datasets", "mlflow", "modelopt", "nvdlfw_inspect", "nvidia_resiliency_ext", "omegaconf", "peft"),
    *("transformers", "wandb"),
    *(
        f"{_PACKAGE}.{name}"
        for name in (
            *("data.builders", "data.datasets", "data.hf_processors", "data.megatron_mimo", "data.sources"),
            *("models", "peft", "recipes", "training.mlm_compat", "training.post_training"),
            "training.tokenizers.tokenizer",
        )
    ),
)


def unpacked() -> dict[str, Path]:
    """Version -> the folder of each unpacked wheel below the folder that the environment names."""
    root = Path(os.environ.get(WHEELS, Path(__file__).parents[2] / ".venv" / "releases"))
    pattern = "megatron_bridge-*.dist-info"
    found = [*root.glob(pattern), *root.glob(f"*/{pattern}")]
    return {file.name.removesuffix(".dist-info").removeprefix("megatron_bridge-"): file.parent for file in found}


def use(folder: Path, tokenizer: Any) -> None:
    """Import Megatron-Bridge from an unpacked wheel in this process.

    Args:
        folder: The wheel's.
        tokenizer: What Bridge's ``build_tokenizer`` gives.
    """
    import megatron

    sys.meta_path.insert(0, Finder(_STOOD_IN))
    root = folder / "megatron" / "bridge"
    for name in ("", ".training", ".data", ".utils"):  # whose __init__ would import every model
        module = types.ModuleType(f"{_PACKAGE}{name}")
        module.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[module.__name__] = module
    megatron.bridge = sys.modules[_PACKAGE]  # type: ignore[attr-defined]
    import megatron.bridge.training.tokenizers.tokenizer as tokenizers

    tokenizers.build_tokenizer = lambda *_, **__: tokenizer


class _StandIn(types.ModuleType):
    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        nothing = {"__init__": lambda self, *args, **kwargs: None, "__module__": self.__name__}
        made = type(name, (), nothing) if name[:1].isupper() else lambda *args, **kwargs: None
        setattr(self, name, made)
        return made


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for every module of the named packages."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        stood_in = any(f"{name}.".startswith(f"{each}.") for each in self._packages)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if stood_in else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []
