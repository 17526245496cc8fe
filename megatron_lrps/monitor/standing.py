"""Where a path stands, read from its checkpoints and its history."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.plan import PlannedPath
from megatron_lrps.versions.folder import CampaignFolder, checkpoints_in
from megatron_lrps.versions.lineage import events, state_of
from megatron_lrps.versions.notes import is_released


def standing(campaign: CampaignFolder, path: PlannedPath) -> dict[str, Any]:
    """A path's state, as ``lrps status --json`` gives it."""
    folder = campaign.path(path.name)
    state = state_of(campaign, path)
    history = events(folder)
    last = history[-1] if history else None
    if state.done:
        name = "released" if is_released(folder, path.end) else "trained"
    elif state.saved is not None or (last and last.get("event") == "started"):
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
    }


def state_words(path: Mapping[str, Any]) -> str:
    """The state in words, of what ``standing`` gives."""
    waiting = path["state"] == "waiting"
    return f"waiting for {path['parent']} at {path['fork']}" if waiting else path["state"].replace("_", " ")
