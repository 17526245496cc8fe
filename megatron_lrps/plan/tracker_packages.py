"""Which packages a plan's trackers need, and the refusal of one that is not installed. Pure."""

import importlib.util

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.model import Plan

WANDB = "wandb-project"


def wanted_packages(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return key of the plan -> (module, distribution) for every tracker that the plan uses."""
    trackers = plan.trackers
    wanted = {
        f"megatron.{WANDB}": ("wandb", "wandb") if plan.megatron.get(WANDB) else None,
        "trackers.mlflow": ("mlflow", "mlflow") if trackers.mlflow else None,
        "trackers.comet": ("comet_ml", "comet-ml") if trackers.comet else None,
    }
    return {key: package for key, package in wanted.items() if package is not None}


def refuse_missing_trackers(plan: Plan, where: str) -> None:
    """Refuse a tracker whose package this Python does not have.

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
