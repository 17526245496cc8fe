"""Packages that some of Megatron's flags need; without them it ends in a traceback after the ranks have started."""

import importlib.util
from typing import NamedTuple

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.async_saves import MCORE, installed


class _Package(NamedTuple):
    module: str
    distribution: str


_EMERGING = _Package("emerging_optimizers", "emerging-optimizers")
_WANDB = _Package("wandb", "wandb")
_OF_OPTIMIZERS = dict.fromkeys(("muon", "dist_muon", "adaptive_muon", "soap", "lion"), _EMERGING)
_OF_FLAGS = {
    "log-straggler": _Package("pynvml", "nvidia-ml-py"),
    "wandb-project": _WANDB,
    "use-kitchen-attention": _Package("nvidia_kitchen", "nvidia-kitchen"),
    "enable-msc": _Package("multistorageclient", "multi-storage-client"),
    "enable-ft-package": _Package("nvidia_resiliency_ext", "nvidia-resiliency-ext"),
    "inprocess-restart": _Package("nvidia_resiliency_ext", "nvidia-resiliency-ext"),
}


def refuse_missing_packages(plan: Plan) -> None:
    """Refuse flags whose package this machine's Python lacks, if the ranks are to have the same Python.

    A machine without Megatron, such as a login node, and a container do not say what the ranks will have.

    Raises:
        RefusedError: naming the flag and the package.
    """
    flags = plan.megatron
    needed = {flag: package for flag, package in _OF_FLAGS.items() if flags.get(flag) not in (None, False)}
    if (package := _OF_OPTIMIZERS.get(str(flags.get("optimizer")))) is not None:
        needed["optimizer"] = package
    if not needed or (plan.launch.slurm is not None and plan.launch.slurm.container is not None):
        return
    for flag, package in needed.items():
        if importlib.util.find_spec(package.module) is None and installed(MCORE) is not None:
            raise RefusedError(
                f"megatron.{flag}: {flags[flag]} needs {package.distribution}, which is not installed.",
                f"pip install {package.distribution}, or choose another value."
                if flag == "optimizer"
                else f"pip install {package.distribution}, or remove the flag.",
            )
