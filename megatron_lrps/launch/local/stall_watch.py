"""Watches over a path's ranks on this machine: a stall is recorded, told to the plan's hook, and explained."""

import time

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.campaign.stall import KIND, stall_of
from megatron_lrps.campaign.stall_alert import raise_alert
from megatron_lrps.launch.local.outcome import Attempt
from megatron_lrps.launch.local.progress_display import Display
from megatron_lrps.launch.local.rank_stacks import dump, not_in_the_collective
from megatron_lrps.launch.local.ranks import RankGroup

_NAMED = 4
"""The most ranks that are named."""


class StallWatch:
    """The watch over one start of the ranks.

    Args:
        attempt: The start.
        group: Its processes.
        display: Shows the stall.
    """

    def __init__(self, attempt: Attempt, group: RankGroup, display: Display) -> None:
        self._attempt, self._group, self._display = attempt, group, display
        self._plan, self._name = attempt.campaign.plan, attempt.path.name
        self._told: tuple[str, float | None] | None = None

    def look(self, doing: Doing | None) -> str | None:
        """Judge what the ranks report; a new stall is told. Returns what it is if the plan ends the ranks for it."""
        stall = stall_of(doing, self._plan.alerts, time.time())
        if stall is None or (stall.doing.what, stall.doing.at) == self._told:
            return None
        self._told = (stall.doing.what, stall.doing.at)
        message = f"{KIND}: {stall}{self._explained()}"
        self._display.say(f"{self._name}: {message}. The stacks of its ranks are in {self._attempt.log}")
        raise_alert(self._attempt.campaign, self._name, stall, message, self._display.say)
        return message if self._plan.alerts.stall_ends else None

    def _explained(self) -> str:
        places = dump(self._attempt.log, self._group.numbered_ranks())
        blamed = [str(place) for place in not_in_the_collective(places)]
        if not blamed:
            return f"; all {len(places)} ranks wait in a collective" if places else ""
        more = f" and {len(blamed) - _NAMED} more" if len(blamed) > _NAMED else ""
        waiting = len(places) - len(blamed)
        return f"; {', '.join(blamed[:_NAMED])}{more}" + (f", and {waiting} wait in a collective" if waiting else "")
