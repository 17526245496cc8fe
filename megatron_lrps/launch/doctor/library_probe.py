"""Imports the heavy libraries in a separate process, and prints the result of each as a line of JSON.

A library that was built for another torch or CUDA can kill the process that imports it. The earlier lines are printed
by then, and the first missing line identifies the library.
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

MODULES = (
    "torch",
    "megatron.core",
    "transformer_engine.pytorch",
    "apex",
    "fused_weight_gradient_mlp_cuda",
    "flash_attn",
)
"""The modules in import order: Transformer Engine finds its libraries only after torch, and the fused kernel is an
extension of apex."""


def _torch() -> dict[str, Any]:
    import torch

    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        capability = [properties.major, properties.minor]
        gpus.append({"name": properties.name, "bytes": properties.total_memory, "capability": capability})
    nccl = torch.cuda.nccl.version() if torch.distributed.is_nccl_available() else ()  # type: ignore[no-untyped-call]
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "nccl": ".".join(map(str, nccl)) or None,
        "gpus": gpus,
    }


def _megatron() -> dict[str, Any]:
    return {"version": importlib.import_module("megatron.core.package_info").__version__}


def _version(module: str) -> dict[str, Any]:
    package = module.split(".")[0]
    importlib.import_module(module)
    return {"version": str(getattr(sys.modules[package], "__version__", "installed"))}


_LOOKS: dict[str, Callable[[], dict[str, Any]]] = {"torch": _torch, "megatron.core": _megatron}


def main() -> None:
    """Print ``{"module": name, "version": ..., ...}`` or ``{"module": name, "error": text}`` for each module."""
    for module in MODULES:
        try:
            found = _LOOKS[module]() if module in _LOOKS else _version(module)
        except BaseException as error:  # importing foreign code may raise anything, even SystemExit
            found = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        # The library may have printed half a line before.
        print(f"\n{json.dumps({'module': module, **found})}", flush=True)


if __name__ == "__main__":
    main()
