"""A path's condensed history: how it started, resumed and stopped, and what was refused."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

_LEFT_OUT = {"saved", "deleted"}
_ENDS = {"stopped", "done", "refused", "storage", "failed"}
_SAYS = {
    "started": "started from scratch",
    "adopted": "adopted a run",
    "forked": "forked",
    "resumed": "resumed",
    "merging": "merged its checkpoints up to",
    "storage": "storage failed",
    "skipped": "skipped checkpoint",
    "hook_failed": "an alert's hook failed",
    "gate_failed": "did not meet its gate",
}
UNRECORDED = "the run before it ended without a word"


@dataclass(frozen=True, kw_only=True)
class HistoryLine:
    """Something that happened to a path, once or several times in a row.

    Attributes:
        time: When it first happened, from events.jsonl (UTC).
        last_time: When it last happened in that row.
        times: The number of times it happened.
        event: ``started`` (from scratch), ``adopted``, ``forked``, ``resumed``, ``merging``, ``stopped``, ``skipped``,
            ``refused``, ``storage``, ``failed``, ``done``, or another event of events.jsonl.
        iteration: The iteration at which it happened.
        reason: Why it happened, or its message.
    """

    time: str | None
    last_time: str | None
    times: int = 1
    event: str
    iteration: int | None = None
    reason: str | None = None

    def __str__(self) -> str:
        what = _SAYS.get(self.event, self.event)
        if self.iteration is not None and self.event != "started":
            what += f"{'' if self.event in ('skipped', 'merging') else ' at'} {self.iteration:,}"
        if self.reason:
            what += f": {self.reason}"
        return f"{what} ({self.times} times, last {self.last_time})" if self.times > 1 else what


def condense(events: Iterable[dict[str, Any]]) -> list[HistoryLine]:
    """The history of a path without its single saves and deletions.

    Args:
        events: Lines of events.jsonl, oldest first. What has the wrong type in them is left out.
    """
    entries: list[HistoryLine] = []
    running = False
    for event in events:
        entry = _entry(event)
        if entry is None:
            continue
        if event["event"] == "started":
            if running:
                entry = replace(entry, reason=UNRECORDED)
            running = True
        elif entry.event in _ENDS:
            running = False
        if entries and _what(entries[-1]) == _what(entry):
            entries[-1] = replace(entries[-1], last_time=entry.time, times=entries[-1].times + 1)
        else:
            entries.append(entry)
    return entries


def _entry(event: dict[str, Any]) -> HistoryLine | None:
    name = _text(event.get("event"))
    if name is None or name in _LEFT_OUT:
        return None
    iteration = event.get("iteration")
    if type(iteration) is not int or not 0 <= iteration < 10**18:
        iteration = None
    if name == "started":
        ways = [(way, event.get(way)) for way in ("adopted", "forked", "merging")]
        name = next((way for way, is_so in ways if is_so is True), "resumed" if iteration else "started")
    time = _text(event.get("time"))
    reason = next((text for key in ("reason", "message", "name") if (text := _text(event.get(key)))), None)
    return HistoryLine(time=time, last_time=time, event=name, iteration=iteration, reason=reason)


def _what(entry: HistoryLine) -> tuple[str, int | None, str | None]:
    return entry.event, entry.iteration, entry.reason


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
