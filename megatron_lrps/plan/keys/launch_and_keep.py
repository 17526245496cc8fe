"""``launch`` and ``keep`` of the plan: where paths run, and which checkpoints stay."""

from typing import Annotated, Literal

from pydantic import Field

from megatron_lrps.plan.keys.base import Count, PlanModel
from megatron_lrps.plan.keys.slurm_job import SlurmLaunch


class LocalLaunch(PlanModel):
    """``launch.local``: how `lrps run` starts a path on this machine."""

    processes: Count = 1
    """The number of ranks on this machine: one for each GPU, or on a CPU at most one for each core."""
    stop_timeout: Annotated[float, Field(gt=0.0)] | None = None
    """After a request to save and stop, the number of seconds without any progress (an iteration, a step of an
    evaluation, the begin or the end of a save) after which the ranks are ended and what they have not saved is lost. By
    default twice the longest save so far and 5 minutes more, or 20 minutes before the first save. Ranks that you start
    by a launcher of your own end themselves a minute after that time."""


class Launch(PlanModel):
    """``launch``: where paths run. The CPU backend is never chosen silently."""

    device: Literal["gpu", "cpu"] = "gpu"
    """`gpu`, or `cpu` to run Megatron's own code over gloo. `cpu` is for development, tests and small models, and it is
    refused if a GPU is present."""
    ft_launcher: bool = False
    """Whether `ft_launcher` of nvidia-resiliency-ext 0.6 or newer starts the ranks, and not torchrun or srun. Megatron
    then sends it heartbeats (`enable-ft-package`), and a rank that hangs is killed: in an iteration after twice
    `alerts.stall_least`, elsewhere after `alerts.stall_pause`. The same command continues; a job is requeued."""
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
