"""What a machine can do to a run besides killing it, by name: faults of its disk and of its clock, or its own death."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from tests.faults import full_disk, partition
from tests.faults.full_disk import FULL, FullDisk
from tests.faults.partition import CUT, Partition
from tests.faults.shim import KINDS, Shim, has_compiler
from tests.slurm import cluster

HARMLESS = ("short writes", "a day later", "a day earlier")
"""Faults that are to break nothing."""
POWER = "power of a node"
NODES = ("node", POWER)
"""A node whose processes are killed, so that its kernel closes their connections; and one that is silent at once."""
HANGS = (CUT,)
"""Faults after which ranks hang: the stall rule ends them."""
CODES: Mapping[str, int] = {kind: 75 if kind in (*HARMLESS, *HANGS) else 74 for kind in (*KINDS, FULL, CUT)}
"""Name of a fault -> the exit code of ``lrps run``; of a harmless one, that of a stop some seconds after it."""


class Spoiler(Protocol):
    """What spoils the machine of one campaign."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the campaign's processes are started with."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What the campaign is started by."""

    def arm(self, kind: str, processes: Iterable[int]) -> None:
        """Let the fault of this name happen from now on, in ranks and what they have started."""

    def disarm(self) -> None:
        """Let all be as it should be; the campaign's processes have ended."""


def spoiler(kind: str, work: Path, plan: Path) -> Spoiler | None:
    """Return what makes a fault; None for one that only kills.

    Args:
        kind: The name of the fault.
        work: The folder of the campaigns.
        plan: The plan of the campaign that it is for.
    """
    if kind in KINDS:
        return Shim.compiled(work, plan.parent)
    if kind == FULL:
        return FullDisk.mounted(plan.parent / "run")
    return Partition() if kind == CUT else None


def missing(kind: str) -> str:
    """Return why a fault cannot be made here; nothing if it can."""
    if kind in KINDS and not has_compiler():
        return "there is no cc"
    if kind == CUT:
        return partition.missing()
    if kind in NODES:
        return cluster.missing()
    return full_disk.missing() if kind == FULL else ""
