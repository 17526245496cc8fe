"""Watches over a path's ranks on this machine: a stall or a straggler is recorded, and told to the plan's hook."""

import time

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.launch.alert_watch import AlertWatch
from megatron_lrps.launch.local.outcome import Attempt
from megatron_lrps.launch.local.progress_display import Display
from megatron_lrps.launch.local.rank_stacks import dump, not_in_the_collective
from megatron_lrps.launch.local.ranks import RankGroup

_NAMED = 4
"""The most ranks that are named."""
_PACE_S = 5.0
"""The seconds between two looks at the ranks' pace."""
_ALONE_S = 60.0
"""The seconds that torchrun has to end after its ranks: it waits for ever where its own network is cut."""


class RankWatch:
    """The watch over one start of the ranks.

    Args:
        attempt: The start.
        group: Its processes.
        display: Shows what is found.
    """

    def __init__(self, attempt: Attempt, group: RankGroup, display: Display) -> None:
        self._attempt, self._group = attempt, group
        self._alerts = AlertWatch(attempt.campaign, attempt.path.name, display.say)
        self._looked = time.monotonic()
        self._alone: float | None = None

    def look(self, doing: Doing | None) -> str | None:
        """Judge what the ranks report; what is new is told. Returns a stall if the plan ends the ranks for it."""
        now = time.monotonic()
        if now - self._looked >= _PACE_S:
            self._looked = now
            self._alerts.look_for_stragglers((doing.iteration if doing else None) or self._attempt.reached)
        stall = self._alerts.look_for_a_stall(doing, self._explained, f"are in {self._attempt.log}")
        return stall if self._attempt.campaign.plan.alerts.stall_ends else None

    def left_alone(self) -> bool:
        """Whether torchrun is left without ranks for too long; to be asked while nobody holds the path."""
        now = time.monotonic()
        if self._group.ranks():
            self._alone = None
        elif self._alone is None:
            self._alone = now
        return self._alone is not None and now - self._alone > _ALONE_S

    def _explained(self) -> str:
        places = dump(self._attempt.log, self._group.numbered_ranks())
        blamed = [str(place) for place in not_in_the_collective(places)]
        if not blamed:
            return f"; all {len(places)} ranks wait in a collective" if places else ""
        more = f" and {len(blamed) - _NAMED} more" if len(blamed) > _NAMED else ""
        waiting = len(places) - len(blamed)
        return f"; {', '.join(blamed[:_NAMED])}{more}" + (f", and {waiting} wait in a collective" if waiting else "")
