"""What happened in a campaign: the events of all paths in the order of time."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from megatron_lrps.campaign.history import condense

_COUNTED = {"saved", "deleted"}
"""Events of single checkpoints: a row of them is one line with their number."""


class Happening(NamedTuple):
    """One thing that happened, as a line of the report.

    Attributes:
        time: The time when it first happened (UTC), or empty.
        path: The name of the path.
        what: The event in words.
    """

    time: str
    path: str
    what: str


def in_order(histories: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[Happening]:
    """Every path's history together, oldest first; what has no time stands first.

    Args:
        histories: Path -> lines of its events.jsonl, oldest first. What has the wrong type in them is left out.
    """
    lines: list[Happening] = []
    for path, history in histories.items():
        events = [dict(event) for event in history if isinstance(event.get("event"), str)]
        lines += [
            Happening(_time(group[0]), path, _checkpoints(name, group))
            for name, group in ((name, list(group)) for name, group in itertools.groupby(events, lambda e: e["event"]))
            if name in _COUNTED
        ]
        lines += [Happening(entry.time or "", path, str(entry)) for entry in condense(events)]
    # Stable: of one second, a path's saves stand before what it ended with.
    return sorted(lines, key=lambda line: line.time)


def _time(event: Mapping[str, Any]) -> str:
    time = event.get("time")
    return time if isinstance(time, str) else ""


def _checkpoints(name: str, events: list[dict[str, Any]]) -> str:
    where = [event["iteration"] for event in events if type(event.get("iteration")) is int]
    many = f"{len(events):,} checkpoints" if len(events) > 1 else "a checkpoint"
    if not where:
        return f"{name} {many}"
    span = f"{min(where):,}" if min(where) == max(where) else f"{min(where):,} to {max(where):,}"
    return f"{name} {many}, at {span}"
