"""Judges a path's ranks from outside, for ``lrps run`` and a Slurm job's guard: ``stall`` and ``straggler``."""

import time
from collections.abc import Callable, Mapping

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.outside_alert import raise_alert
from megatron_lrps.campaign.pace import pace_of
from megatron_lrps.campaign.stall import KIND, StallJudge
from megatron_lrps.campaign.straggler import KIND as STRAGGLER
from megatron_lrps.campaign.straggler import StragglerJudge
from megatron_lrps.storage.ownership import holder


class AlertWatch:
    """The judge of one start of the ranks. What is new is printed, recorded, and told to the plan's hook.

    Args:
        campaign: The campaign.
        name: The path.
        say: Prints a line.
    """

    def __init__(self, campaign: Campaign, name: str, say: Callable[[str], None]) -> None:
        self._campaign, self._name, self._say = campaign, name, say
        self._folder = campaign.folder.path(name)
        self._stalls = StallJudge(campaign.plan.alerts)
        self._stragglers = StragglerJudge(campaign.plan.alerts)

    def look_for_stragglers(self, iteration: int) -> None:
        """Judge the ranks' pace.

        Args:
            iteration: The last iteration that was trained, as far as is known.
        """
        for found in self._stragglers.look(pace_of(self._folder, holder(self._folder.root)), time.monotonic()):
            self._tell(STRAGGLER, f"{STRAGGLER}: {found}", "", iteration, found.values)

    def look_for_a_stall(self, doing: Doing | None, explain: Callable[[], str], stacks: str) -> str | None:
        """Judge what the ranks report; return a stall that is new, in words.

        Args:
            doing: What they report.
            explain: Called on a stall; what it returns is added to the words.
            stacks: Where the stacks of the ranks are, for the line that is printed.
        """
        if (stall := self._stalls.look(doing, time.monotonic())) is None:
            return None
        message = f"{KIND}: {stall}{explain()}"
        self._tell(KIND, message, f". The stacks of its ranks {stacks}", stall.iteration, stall.values)
        return message

    def _tell(self, kind: str, message: str, more: str, iteration: int, values: Mapping[str, float]) -> None:
        self._say(f"{self._name}: {message}{more}")
        raise_alert(self._campaign, self._name, kind, message, self._say, iteration=iteration, values=values)
