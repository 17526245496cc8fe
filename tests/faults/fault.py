"""The faults of the farm: what is broken, when, and in which campaign; a fault's number decides all of it."""

import random
from dataclasses import dataclass

from tests.faults.campaigns import LAYOUTS, SAVES
from tests.faults.commands import COMMANDS
from tests.faults.machine import CODES, HANGS, NODES

KILLED = ("rank", "all ranks", "torchrun", "lrps run", "all of it", "writer", "fork server")
"""What is killed in training; the last two are there with asynchronous saves alone."""
PHASES = ("", "forking", "starting", "reading", "loading", "training", "evaluating", "saving", "finishing")
"""What the ranks report when the clock for the fault begins; nothing is the start of ``lrps run``."""
IN_A_ROW = 4
"""The number of faults in a row that are tried on one campaign, which then comes to its end."""
NODES_FROM = 100_000
"""The number of the first fault that lets a node of a Slurm cluster die; all that follow do too."""
COMMAND = "command"
"""The layout of faults in commands that do not train."""
_LATEST_S = {"": 12.0, "training": 4.0, "starting": 0.3, "evaluating": 0.3, "saving": 0.3}
_LATE_S = 0.05
"""Seconds after its begin at which a phase is still likely to last."""
_BROKEN = 0.3
"""The share of faults of the disk or the clock."""


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        number: Its number; it decides all else.
        layout: Of the campaign that it is tried on, or ``COMMAND``.
        save: How that saves.
        target: What is killed, a fault of the disk or the clock, the command that is killed, or one of ``NODES``.
        phase: When.
        delay: The seconds after that; for a command, the share of its time.
    """

    number: int
    layout: str
    save: str
    target: str
    phase: str
    delay: float

    @classmethod
    def drawn(cls, number: int) -> "Fault":
        """Return the fault of this number."""
        if number >= NODES_FROM:
            return cls._of_a_node(number)
        dice = random.Random(f"fault {number}")
        cells = [*((layout, save) for layout in LAYOUTS for save in SAVES), (COMMAND, "sync")]
        layout, save = cells[number // IN_A_ROW % len(cells)]
        if layout == COMMAND:
            return cls(number, layout, save, dice.choice(list(COMMANDS)), "", dice.random())
        phase = dice.choice(PHASES)
        delay = dice.uniform(0.0, _LATEST_S.get(phase, _LATE_S))
        if dice.random() < _BROKEN:
            target = dice.choice(list(CODES))
            if target in HANGS and phase not in ("evaluating", "saving", "finishing"):
                phase = "training"  # ranks that have not met yet do not hang, they give up
            return cls(number, layout, save, target, phase, delay)
        return cls(number, layout, save, dice.choice(KILLED if save == "async" else KILLED[:-2]), phase, delay)

    @classmethod
    def _of_a_node(cls, number: int) -> "Fault":
        dice = random.Random(f"fault {number}")
        cells = [(layout, save) for layout in LAYOUTS for save in SAVES]
        layout, save = cells[(number - NODES_FROM) // IN_A_ROW % len(cells)]
        target, phase = dice.choice(NODES), dice.choice(PHASES)
        return cls(number, layout, save, target, phase, dice.uniform(0.0, _LATEST_S.get(phase, _LATE_S)))
