"""The deadline of a request to save and stop: ranks that show no progress any more are not waited for for ever."""

from collections.abc import Iterable, Mapping
from typing import Any

from megatron_lrps.campaign.activity import Doing

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

    def is_over(self, reached: int, doing: Doing | None, now: float) -> bool:
        """Whether it is over.

        Args:
            reached: The last iteration that the ranks reported.
            doing: What they do besides training.
            now: Seconds of the same clock.
        """
        seen = (reached, doing and (doing.what, doing.name, doing.done, doing.total))
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since > self.seconds
