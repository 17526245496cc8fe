"""Where a path stands, read from its checkpoints, its history and its holder: the one place for the words of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from megatron_lrps.campaign.activity import Doing, doing_of, starts
from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.record import events, state_of
from megatron_lrps.campaign.releases import releases_of
from megatron_lrps.plan import PlannedPath
from megatron_lrps.storage.ownership import Owner

ENDED = ("trained", "released")
"""States of a path that is trained to its end."""
HALF_WAY = ("in_progress", "stopped", "interrupted", "failed")
"""States of a path that has begun, and is not."""
LATEST = 20
"""Alerts of a path that are shown, at the most."""
_TURNS = ("started", "stopped", "done", "refused", "storage", "failed")
"""Events that say how a run began or ended; others are remarks of one that goes on, or later notes."""
_REASONS = {
    "signal": "Ctrl-C or a signal",
    "duration": "its time limit",
    "interval": "its exit interval",
    "until": "the end of its job's part",
}
_FAILURES = {"refused": "refused", "storage": "storage failed", "failed": "failed"}


def standing(campaign: CampaignFolder, path: PlannedPath, owner: Owner | None) -> dict[str, Any]:
    """A path's state, as ``lrps status --json`` gives it.

    Args:
        campaign: Its folder.
        path: The path.
        owner: Who holds it now, of ``owner.holder``.
    """
    return standing_now(campaign.path(path.name), standing_alone(campaign, path), owner)


def standing_alone(campaign: CampaignFolder, path: PlannedPath) -> dict[str, Any]:
    """A path's state where nobody holds it: what its files say, however often they are looked at."""
    folder = campaign.path(path.name)
    state = state_of(campaign, path)
    history = events(folder)
    last = history[-1] if history else None
    turns = [event for event in history if event.get("event") in _TURNS]
    turn = turns[-1] if turns else {}
    begun = state.saved is not None or any(event["event"] == "started" for event in turns)
    released = releases_of(folder, path.end)
    if state.done:
        name = "released" if released else "trained"
    elif begun:
        name = {"started": "interrupted", **dict.fromkeys(_FAILURES, "failed")}.get(str(turn.get("event")), "stopped")
    else:
        name = "ready" if state.ready else "waiting"
    why = None
    if name in HALF_WAY:
        why = _why(turn)
    elif name == "waiting":
        why = _passed(campaign, path)
    elif name == "released" and any(each.get("unmet") for each in released):
        why = "it did not meet its gate"
    return {
        "name": path.name,
        "kind": path.kind,
        "version": path.version,
        "parent": path.parent,
        "fork": path.fork,
        "adopted": str(path.adopted) if path.adopted else None,
        "end": path.end,
        "state": name,
        "why": why,
        "doing": None,
        "saved": state.saved,
        "iterations_left": path.end - max(path.fork, state.saved or 0),
        "torn": list(Checkpoints.in_folder(folder.checkpoints).torn),
        "last_event": {"event": last.get("event"), "time": last.get("time")} if last else None,
        "alerts": alerts_of(history),
    }


def _why(turn: Mapping[str, Any]) -> str | None:
    match turn.get("event"):
        case "stopped":
            return _REASONS.get(str(turn.get("reason")))
        case "done":
            return "it was trained to its end, and the plan has grown since"
        case "started":
            return "its last run ended without a word"
        case event:
            return _FAILURES.get(str(event))


def _passed(campaign: CampaignFolder, path: PlannedPath) -> str | None:
    """Why a fork point will never be there, or None: a parent saves it when it comes by."""
    if path.adopted is not None:
        return f"{path.adopted} has no checkpoint of iteration {path.fork:,}"
    newest = Checkpoints.in_folder(campaign.path(str(path.parent)).checkpoints).newest
    return f"{path.parent} is past {path.fork:,} and has no checkpoint there" if (newest or 0) > path.fork else None


def standing_now(folder: PathFolder, alone: Mapping[str, Any], owner: Owner | None) -> dict[str, Any]:
    """What ``standing_alone`` gives, with what the path's holder does now.

    Args:
        folder: The path's.
        alone: Of ``standing_alone``.
        owner: Who holds it now.
    """
    if owner is None and not starts(folder):
        return dict(alone)
    doing = doing_of(folder, owner) if owner is not None else Doing(what="starting")
    still = {} if alone["state"] in ENDED else {"state": "in_progress", "why": None}
    return {**alone, **still, "doing": doing.to_json() if doing else None}


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
    state, doing = path["state"], Doing(**path["doing"]) if path["doing"] else None
    if state == "waiting":
        return path["why"] or f"waiting for {path['parent']} at {path['fork']:,}"
    if state == "in_progress":
        return "in progress" if doing is None or doing.what == "training" else str(doing)
    if state in HALF_WAY:
        words = path["why"] if state == "failed" else state
        words += f" at {path['saved']:,} of {path['end']:,}" if path["saved"] is not None else " before its first save"
        return words if state != "stopped" or path["why"] is None else f"{words} ({path['why']})"
    although = f"{state}, although {path['why']}" if path["why"] else state
    return although if doing is None or doing.what == "training" else f"{although}, {doing}"
