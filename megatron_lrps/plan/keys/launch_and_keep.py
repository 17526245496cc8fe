"""``launch`` and ``keep`` of the plan: where paths run, and which checkpoints stay."""

from typing import Literal

from megatron_lrps.plan.keys.base import Count, PlanModel
from megatron_lrps.plan.keys.slurm_job import SlurmLaunch


class LocalLaunch(PlanModel):
    """``launch.local``: how `lrps run` starts a path on this machine."""

    processes: Count = 1
    """The number of ranks on this machine: one for each GPU, or on a CPU at most one for each core."""


class Launch(PlanModel):
    """``launch``: where paths run. The CPU backend is never chosen silently."""

    device: Literal["gpu", "cpu"] = "gpu"
    """`gpu`, or `cpu` to run Megatron's own code over gloo. `cpu` is for development, tests and small models, and it is
    refused if a GPU is present."""
    local: LocalLaunch = LocalLaunch()
    """How `lrps run` starts a path on this machine."""
    slurm: SlurmLaunch | None = None
    """What `lrps submit` asks the cluster for. Without this section, `lrps submit` has nothing to submit."""


class Keep(PlanModel):
    """``keep``: what `lrps gc` leaves of each path beside ends, fork points and pins."""

    latest: Count = 2
    """The number of latest checkpoints of each path that stay."""
    every: Count | None = None
    """Checkpoints at multiples of this number of iterations stay too. By default none do."""
    released_forks: bool = True
    """Whether the fork points of trained and released versions stay. Without its fork point, a version cannot be
    trained again, and no other version can be cut off main there."""
