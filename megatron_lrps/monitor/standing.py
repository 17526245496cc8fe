"""Where a path stands, read from its checkpoints and its history."""

from collections.abc import Iterable, Mapping
from typing import Any

from megatron_lrps.plan import PlannedPath
from megatron_lrps.versions.folder import CampaignFolder, checkpoints_in
from megatron_lrps.versions.lineage import events, state_of
from megatron_lrps.versions.notes import is_released

REMARKS = ("alert", "hook_failed")
"""Events of a run that goes on."""
LATEST = 20
"""Alerts of a path that are shown, at the most."""


def standing(campaign: CampaignFolder, path: PlannedPath) -> dict[str, Any]:
    """A path's state, as ``lrps status --json`` gives it."""
    folder = campaign.path(path.name)
    state = state_of(campaign, path)
    history = events(folder)
    last = history[-1] if history else None
    # What a run says on the way is no sign of how it stands.
    said = (event.get("event") for event in reversed(history))
    begun = next((name for name in said if name not in REMARKS), None)
    if state.done:
        name = "released" if is_released(folder, path.end) else "trained"
    elif state.saved is not None or begun == "started":
        name = "in_progress"
    else:
        name = "ready" if state.ready else "waiting"
    return {
        "name": path.name,
        "kind": path.kind,
        "version": path.version,
        "parent": path.parent,
        "fork": path.fork,
        "end": path.end,
        "state": name,
        "saved": state.saved,
        "iterations_left": path.end - max(path.fork, state.saved or 0),
        "torn": checkpoints_in(folder.checkpoints)[1],
        "last_event": {"event": last.get("event"), "time": last.get("time")} if last else None,
        "alerts": alerts_of(history),
    }


def alerts_of(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The latest alerts of a path's events, oldest first; what has the wrong type in them is null.

    Args:
        history: Lines of events.jsonl, oldest first.
    """
    found = [event for event in history if event.get("event") == "alert"]
    return [
        {
            "time": _of(str, event.get("time")),
            "iteration": _of(int, event.get("iteration")),
            "kind": _of(str, event.get("kind")),
            "message": _of(str, event.get("message")),
            "values": _of(dict, event.get("values")),
        }
        for event in found[-LATEST:]
    ]


def _of(kind: type, value: Any) -> Any:
    return value if type(value) is kind else None


def alert_words(alert: Mapping[str, Any]) -> str:
    """An alert on one line, whatever its record holds."""
    where = "?" if alert["iteration"] is None else f"{alert['iteration']:,}"
    text = alert["message"] or alert["kind"] or "without a word"
    return f"alert at iteration {where}: {text if text.isprintable() else repr(text)} ({alert['time'] or 'no time'})"


def state_words(path: Mapping[str, Any]) -> str:
    """The state in words, of what ``standing`` gives."""
    waiting = path["state"] == "waiting"
    return f"waiting for {path['parent']} at {path['fork']}" if waiting else path["state"].replace("_", " ")
