"""The order in which a path's job was started, by the path's own record: a clock may be set between two starts.

A node whose clock is a day ahead writes figures that look newer than all that follow for a day. The record is
appended to, so its lines have the true order.
"""

from datetime import datetime
from typing import NamedTuple

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.record import events


class StartOrder:
    """The starts of one path's job.

    Args:
        folder: The path's folder, which need not exist. Without a record, the clock decides.
    """

    def __init__(self, folder: PathFolder) -> None:
        found = [event for event in events(folder) if event.get("event") == "started"]
        self._times = [_seconds(str(event.get("time"))) for event in found]

    def place(self, time: float) -> "Place":
        """Return what to sort a start by.

        Args:
            time: When its first figure's file was made, in seconds since 1970, by the clock of then. The record has
                its line soon after, by the same clock.
        """
        later = ((since, number) for number, at in enumerate(self._times) if (since := at - time) >= -1.0)
        return Place(min(later, default=(0.0, len(self._times)))[1], time)


class Place(NamedTuple):
    """A start's place: the number of its line in the record, and the time."""

    line: int
    time: float


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return float("-inf")
