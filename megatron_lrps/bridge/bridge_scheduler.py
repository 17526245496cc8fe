"""The path's learning rate in Bridge's loop, which has built stock's scheduler before it asks anybody."""

import json
from argparse import Namespace
from typing import Any

from megatron_lrps.bridge.config_arguments import plain_arguments
from megatron_lrps.schedule import Schedule
from megatron_lrps.training.megatron.saved_states import ARGUMENTS
from megatron_lrps.training.megatron.scheduler import PathSwitchingScheduler


class CarryingScheduler(PathSwitchingScheduler):
    """The path's scheduler, whose state carries the run's arguments too: Bridge saves none that could be compared."""

    arguments: Namespace
    """The run's arguments; iteration and position are brought up to date before each save."""

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state, and the arguments as JSON."""
        return {**super().state_dict(), ARGUMENTS: json.dumps(plain_arguments(self.arguments))}


def put_on_path(stock: Any, schedule: Schedule, args: Namespace, *, end: int) -> None:
    """Make stock's scheduler the path's own, in place: Bridge's loop holds this very object.

    Args:
        stock: The scheduler that Bridge has built, at position 0.
        schedule: The path's whole curve.
        args: The run's arguments.
        end: The path's end, in samples.

    Raises:
        RefusedError: if weight decay would change along a path.
    """
    if not isinstance(stock, CarryingScheduler):
        stock.__class__ = CarryingScheduler
        stock.arguments = args
        PathSwitchingScheduler.__init__(stock, stock.optimizer, schedule, args, end=end)
