"""Packages that some of Megatron's flags need; without them it ends in a traceback after the ranks have started."""

import importlib.util
from collections.abc import Mapping
from typing import Any, NamedTuple

from megatron_lrps.errors import RefusedError


class _Package(NamedTuple):
    module: str
    distribution: str


_EMERGING = _Package("emerging_optimizers", "emerging-optimizers")
_OF_OPTIMIZERS = dict.fromkeys(("muon", "dist_muon", "adaptive_muon", "soap", "lion"), _EMERGING)
_INSTEAD = {"optimizer": "choose another optimizer"}
_OF_FLAGS = {
    "log-straggler": _Package("pynvml", "nvidia-ml-py"),
    "use-kitchen-attention": _Package("nvidia_kitchen", "nvidia-kitchen"),
    "enable-msc": _Package("multistorageclient", "multi-storage-client"),
    "enable-ft-package": _Package("nvidia_resiliency_ext", "nvidia-resiliency-ext"),
    "inprocess-restart": _Package("nvidia_resiliency_ext", "nvidia-resiliency-ext"),
}


def refuse_missing_packages(flags: Mapping[str, Any]) -> None:
    """Refuse flags whose package this Python lacks; the ranks are to have the same Python.

    Args:
        flags: The plan's flags of Megatron, without dashes -> value.

    Raises:
        RefusedError: naming the flag and the package.
    """
    needed = {flag: package for flag, package in _OF_FLAGS.items() if flags.get(flag) not in (None, False)}
    if (package := _OF_OPTIMIZERS.get(str(flags.get("optimizer")))) is not None:
        needed["optimizer"] = package
    for flag, package in needed.items():
        if importlib.util.find_spec(package.module) is None:
            raise RefusedError(
                f"megatron.{flag}: {flags[flag]} needs {package.distribution}, which is not installed.",
                f"pip install {package.distribution}, or {_INSTEAD.get(flag, 'remove the flag')}.",
            )
