"""The deadline of a request to save and stop: ranks that show no progress any more are not waited for for ever."""

from collections.abc import Iterable, Mapping
from typing import Any

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.path_request import PathRequest, answered, asked
from megatron_lrps.campaign.record import events
from megatron_lrps.storage.ownership import holder

_SAVES = 2.0
_MARGIN_S = 300.0
_UNKNOWN_S = 1200.0


def seconds_to_stop(given: float | None, history: Iterable[Mapping[str, Any]]) -> float:
    """Return the seconds that asked ranks may go without progress: the plan's, or by the longest save so far.

    Args:
        given: ``stop_timeout`` of the plan, for this executor.
        history: The events of the path.
    """
    if given is not None:
        return given
    saves = [event.get("seconds") for event in history if event.get("event") == "saved"]
    longest = max((float(each) for each in saves if isinstance(each, int | float)), default=None)
    return _UNKNOWN_S if longest is None else _SAVES * longest + _MARGIN_S


class StopDeadline:
    """Tells whether ranks that were asked to save and stop have made no progress for too long.

    Args:
        seconds: The result of ``seconds_to_stop``.
        now: Seconds of a monotonic clock.
    """

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self._since = now
        self._seen: object = None

    def is_over(self, reached: int, doing: Doing | None, now: float, *, grace: float = 0.0) -> bool:
        """Whether it is over.

        Args:
            reached: The last iteration that the ranks reported.
            doing: What they do besides training.
            now: Seconds of the same clock.
            grace: Seconds more, which whoever looks leaves to another one to act first.
        """
        seen = (reached, doing and (doing.what, doing.name, doing.done, doing.total))
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since > self.seconds + grace


class RequestDeadline:
    """The deadline of ``lrps stop``, whose request is a file that ranks which hang never see.

    Args:
        folder: The path's folder.
        given: ``stop_timeout`` of the plan, for this executor.

    Attributes:
        request: The request that the ranks have not answered, or have answered and not followed yet; None if none.
    """

    def __init__(self, folder: PathFolder, given: float | None) -> None:
        self.request: PathRequest | None = None
        self._folder, self._given = folder, given
        self._deadline: StopDeadline | None = None
        self._holder: str | None = None
        self._answered = False

    def look(self, now: float) -> StopDeadline | None:
        """Return the deadline that runs; None while nobody asks these ranks to stop, or once the request is withdrawn.

        Args:
            now: Seconds of a monotonic clock.
        """
        found = asked(self._folder, "stop")
        if found is not None and found != self.request:
            # A rank that is stopped sends no heartbeats to other machines, so a holder that was seen is remembered.
            if (owner := holder(self._folder.root)) is not None and owner.token:
                self._holder = owner.token
            if found.holder is None or found.holder == self._holder:
                self.request, self._answered = found, False
                self._deadline = StopDeadline(seconds_to_stop(self._given, events(self._folder)), now)
        elif found is None and self.request is not None and not self._answered:
            self._answered = answered(self._folder, self.request) is not None
            if not self._answered:
                self.request = self._deadline = None
        return self._deadline
