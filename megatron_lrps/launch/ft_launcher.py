"""``launch.ft_launcher``: NVIDIA's ``ft_launcher``, not torchrun or srun, starts the ranks, and ends those that hang.

It is torchrun with a monitor beside each rank (nvidia-resiliency-ext, docs of ``ft_launcher``). Megatron tells the
monitor what it is doing, and a rank that stays in one section for too long is killed.
"""

import os

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.async_saves import NVRX, installed, is_old_nvrx

MODULE = "nvidia_resiliency_ext.fault_tolerance.launcher"
_KEY = "launch.ft_launcher"
_STEPS = 2
"""A step may take this many times ``stall_least``, so that the stacks of a stall are in the log before its end."""


def refuse_without_ft_launcher(plan: Plan) -> None:
    """Refuse the key where the package is missing, or older than Megatron's calls of it; raises RefusedError."""
    if not plan.launch.ft_launcher:
        return
    version = installed(NVRX)
    if version is not None and not is_old_nvrx(version):
        return
    found = "it is not installed" if version is None else f"it is {version}"
    raise RefusedError(
        f"{_KEY} is true, and Megatron's heartbeats need {NVRX} 0.6 or newer: {found}.",
        f"use a NeMo container, which has it (package indexes end at 0.4.1), or remove {_KEY}: alerts.stall_ends ends "
        "ranks that hang too.",
    )


def launcher(plan: Plan, ranks: int) -> tuple[str, ...]:
    """Return the module that starts ranks on this machine, and its options.

    Args:
        plan: The plan.
        ranks: The number of ranks.
    """
    # Without the last option torchrun leaves a log folder of each run in the temporary folder.
    common = ("--standalone", "--nproc-per-node", str(ranks), "--log-dir", os.devnull)
    if not plan.launch.ft_launcher:
        return ("torch.distributed.run", *common)
    return (MODULE, *common, *limits(plan))


def limits(plan: Plan) -> tuple[str, ...]:
    """Return ``ft_launcher``'s options that say for how long a rank may do what it does, and what then follows."""
    pause = f"{plan.alerts.stall_pause:g}"
    step = f"{_STEPS * plan.alerts.stall_least:g}"
    # The same command or a requeue starts the ranks again, from the last checkpoint; a stop must not start them.
    return (
        *("--max-restarts", "0", "--ft-rank-out-of-section-timeout", pause),
        *("--ft-rank-section-timeouts", f"setup:{pause},step:{step},checkpointing:{pause}"),
    )
