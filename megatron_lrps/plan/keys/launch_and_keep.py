"""``launch`` and ``keep`` of the plan: where paths run, and which checkpoints stay."""

from typing import Literal

from megatron_lrps.plan.keys.base import Count, PlanModel
from megatron_lrps.plan.keys.slurm_job import SlurmLaunch


class LocalLaunch(PlanModel):
    """``launch.local``: how `lrps run` starts a path on this machine."""

    processes: Count = 1
    """Ranks on this machine: on GPUs one for each, on a CPU one for each core at the most."""


class Launch(PlanModel):
    """``launch``: where paths run. The CPU backend is never chosen silently."""

    device: Literal["gpu", "cpu"] = "gpu"
    """`gpu`, or `cpu`: Megatron's own code over gloo, for development, tests and small models. It is refused where a
    GPU is present."""
    local: LocalLaunch = LocalLaunch()
    """How `lrps run` starts a path."""
    slurm: SlurmLaunch | None = None
    """What `lrps submit` asks the cluster for; without it there is nothing to submit."""


class Keep(PlanModel):
    """``keep``: what `lrps gc` leaves of each path beside ends, fork points and pins."""

    latest: Count = 2
    """How many of the latest checkpoints of each path stay."""
    every: Count | None = None
    """Checkpoints at multiples of so many iterations stay too."""
    released_forks: bool = True
    """Whether fork points of versions that are trained and released stay.

    Without them none can be trained anew, nor another version be cut off main there.
    """
