"""Watches over a path's ranks on this machine: a stall or a straggler is recorded, and told to the plan's hook."""

import time

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.campaign.outside_alert import raise_alert
from megatron_lrps.campaign.pace import pace_of
from megatron_lrps.campaign.stall import KIND, StallJudge
from megatron_lrps.campaign.straggler import KIND as STRAGGLER
from megatron_lrps.campaign.straggler import StragglerJudge
from megatron_lrps.launch.local.outcome import Attempt
from megatron_lrps.launch.local.progress_display import Display
from megatron_lrps.launch.local.rank_stacks import dump, not_in_the_collective
from megatron_lrps.launch.local.ranks import RankGroup
from megatron_lrps.storage.ownership import holder

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
        self._attempt, self._group, self._display = attempt, group, display
        self._plan, self._name = attempt.campaign.plan, attempt.path.name
        self._stalls = StallJudge(self._plan.alerts)
        self._stragglers = StragglerJudge(self._plan.alerts)
        self._looked = time.monotonic()
        self._alone: float | None = None

    def look(self, doing: Doing | None) -> str | None:
        """Judge what the ranks report; what is new is told. Returns a stall if the plan ends the ranks for it."""
        self._look_for_stragglers(doing)
        if (stall := self._stalls.look(doing, time.monotonic())) is None:
            return None
        message = f"{KIND}: {stall}{self._explained()}"
        self._display.say(f"{self._name}: {message}. The stacks of its ranks are in {self._attempt.log}")
        self._raise(KIND, message, stall.iteration, stall.values)
        return message if self._plan.alerts.stall_ends else None

    def left_alone(self) -> bool:
        """Whether torchrun is left without ranks for too long; to be asked while nobody holds the path."""
        now = time.monotonic()
        if self._group.ranks():
            self._alone = None
        elif self._alone is None:
            self._alone = now
        return self._alone is not None and now - self._alone > _ALONE_S

    def _look_for_stragglers(self, doing: Doing | None) -> None:
        now = time.monotonic()
        if now - self._looked < _PACE_S:
            return
        self._looked = now
        folder = self._attempt.campaign.folder.path(self._name)
        for found in self._stragglers.look(pace_of(folder, holder(folder.root)), now):
            message = f"{STRAGGLER}: {found}"
            self._display.say(f"{self._name}: {message}")
            self._raise(STRAGGLER, message, (doing.iteration if doing else None) or self._attempt.reached, found.values)

    def _raise(self, kind: str, message: str, iteration: int, values: dict[str, float]) -> None:
        raise_alert(
            self._attempt.campaign, self._name, kind, message, self._display.say, iteration=iteration, values=values
        )

    def _explained(self) -> str:
        places = dump(self._attempt.log, self._group.numbered_ranks())
        blamed = [str(place) for place in not_in_the_collective(places)]
        if not blamed:
            return f"; all {len(places)} ranks wait in a collective" if places else ""
        more = f" and {len(blamed) - _NAMED} more" if len(blamed) > _NAMED else ""
        waiting = len(places) - len(blamed)
        return f"; {', '.join(blamed[:_NAMED])}{more}" + (f", and {waiting} wait in a collective" if waiting else "")
