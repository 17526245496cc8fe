"""Which packages a plan needs that no part of the plugin does, and the refusal of one that is not installed. Pure."""

import importlib.util

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.hybrid_pattern import CPU_PACKAGES, PACKAGES, PATTERNS, pattern_of
from megatron_lrps.plan.model import Plan

WANDB, STRAGGLER = "wandb-project", "log-straggler"
INSTANCES = "num-distributed-optimizer-instances"
_EMERGING = ("emerging_optimizers", "emerging-optimizers")
_OF_OPTIMIZERS = dict.fromkeys(("muon", "dist_muon", "soap", "lion"), _EMERGING)
_RESILIENCY = ("nvidia_resiliency_ext", "nvidia-resiliency-ext")
_OF_SWITCHES = {
    # Megatron imports it at the first report, through torch, and ends the run if it is not there.
    STRAGGLER: ("pynvml", "nvidia-ml-py"),
    "use-kitchen-attention": ("nvidia_kitchen", "nvidia-kitchen"),
    "enable-msc": ("multistorageclient", "multi-storage-client"),
    "enable-ft-package": _RESILIENCY,
    "inprocess-restart": _RESILIENCY,
}


def wanted_packages(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return key of the plan -> (module, distribution): for its trackers, and for some of Megatron's flags."""
    trackers, pattern = plan.trackers, pattern_of(plan.megatron) or ""
    kernels = CPU_PACKAGES if plan.launch.device == "cpu" else PACKAGES
    wanted = {
        **{
            f"megatron.{PATTERNS[0]} ({kind})": package if kind in pattern else None
            for kind, package in kernels.items()
        },
        f"megatron.{WANDB}": ("wandb", "wandb") if plan.megatron.get(WANDB) else None,
        f"megatron.{INSTANCES}": None if plan.megatron.get(INSTANCES, 1) == 1 else ("einops", "einops"),
        "megatron.optimizer": _OF_OPTIMIZERS.get(str(plan.megatron.get("optimizer"))),
        **{
            f"megatron.{flag}": package if plan.megatron.get(flag) is True else None
            for flag, package in _OF_SWITCHES.items()
        },
        "trackers.mlflow": ("mlflow", "mlflow") if trackers.mlflow else None,
        "trackers.comet": ("comet_ml", "comet-ml") if trackers.comet else None,
    }
    return {key: package for key, package in wanted.items() if package is not None}


def refuse_missing_packages(plan: Plan, where: str) -> None:
    """Refuse a plan of which this Python does not have all packages.

    Args:
        plan: The plan.
        where: The name of this machine, for the message.

    Raises:
        RefusedError: naming the key and the package.
    """
    for key, (module, distribution) in wanted_packages(plan).items():
        if importlib.util.find_spec(module) is None:
            raise RefusedError(
                f"{key} is given, and its package {distribution} is not installed on {where}.",
                f"pip install {distribution}, or remove {key}.",
            )
