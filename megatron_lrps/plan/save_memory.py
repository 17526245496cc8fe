"""The host memory that a save takes on a node, beside what the ranks themselves take. Pure.

Megatron copies all that a rank saves to the host before it writes the first byte. With asynchronous saves the process
that writes has a copy of its own.
"""

import re
from dataclasses import dataclass

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.cost import ModelSize
from megatron_lrps.plan.flags import DEFAULTS
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.parallel_layout import PP, ranks_of

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_ONE_WRITES = "no-ckpt-fully-parallel-save"
"""With this flag one data-parallel replica saves everything."""


@dataclass(frozen=True, kw_only=True)
class SaveMemory:
    """The host memory of a save.

    Attributes:
        bytes: On the node that has the most to save, about.
        asynchronous: Whether it is twice the node's share, for the process that writes in the background.
        gpus: The number of ranks.
        gpus_per_node: The number of ranks on a node.
    """

    bytes: int
    asynchronous: bool
    gpus: int
    gpus_per_node: int


def save_memory(plan: Plan, size: ModelSize, gpus: int | None = None) -> SaveMemory:
    """Return the host memory that a save takes on a node.

    Args:
        plan: The plan.
        size: The model's size.
        gpus: The number of ranks; those of the plan's ``launch`` by default.
    """
    slurm, ranks = plan.launch.slurm, gpus or ranks_of(plan)
    each = min(slurm.gpus_per_node if slurm else ranks, ranks)
    share = each / ranks
    if plan.megatron.get(_ONE_WRITES) is True:
        # The ranks of a pipeline stage are neighbours, and the first ones of each stage write.
        stages = plan.megatron.get(PP, 1)
        pp = stages if isinstance(stages, int) and stages > 0 else 1
        share = min(1.0, -(-each // max(1, ranks // pp)) / pp)
    asynchronous = plan.megatron.get("async-save", DEFAULTS.get("async-save")) is True
    staged = int(size.checkpoint_bytes * share) * (2 if asynchronous else 1)
    return SaveMemory(bytes=staged, asynchronous=asynchronous, gpus=ranks, gpus_per_node=each)


def refuse_small_memory(plan: Plan, size: ModelSize | None) -> None:
    """Refuse a job whose memory on a node is less than a save alone takes there.

    Args:
        plan: The plan.
        size: The model's size, or None if it is not known.

    Raises:
        PlanError: naming ``launch.slurm.mem`` and both sizes.
    """
    slurm = plan.launch.slurm
    limit = bytes_of(slurm.mem) if slurm and slurm.mem else None
    if size is None or limit is None or (needed := save_memory(plan, size)).bytes <= limit:
        return
    how = ", twice its share, as asynchronous saves do" if needed.asynchronous else ""
    gigabytes = -(-needed.bytes // 2**30)
    raise PlanError(
        f"launch.slurm.mem: {slurm.mem if slurm else ''} is less than the {gigabytes:,} GiB of host memory that a save "
        f"takes on a node{how}.",
        f'set mem to more than {gigabytes}G, or "0" for all of a node'
        + (", or save synchronously." if needed.asynchronous else ", or train on more nodes."),
    )


def bytes_of(mem: str) -> int | None:
    """Return the bytes that a value of ``sbatch --mem`` stands for; None for all of a node, or if it is unknown."""
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", mem.upper())
    return int(found[1]) * _UNITS[found[2] or "M"] or None if found else None
