"""A path's state, read from its checkpoints, history and holder; and when a path counts as trained."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.manifest import sync_small_files
from megatron_lrps.campaign.record import events
from megatron_lrps.errors import StorageError
from megatron_lrps.plan import PlannedPath

if TYPE_CHECKING:  # `lrps plan` hardly needs these modules, and starts faster without them
    from megatron_lrps.campaign.activity import Doing
    from megatron_lrps.storage.owner import Owner

ENDED = ("trained", "released")
"""States of a path that is trained to its end."""
HALF_WAY = ("in_progress", "stopped", "interrupted", "failed")
"""States of a path that has begun but is not trained to its end."""
LATEST = 20
"""The maximum number of a path's alerts that are shown."""
_TURNS = ("started", "stopped", "done", "refused", "storage", "failed")
"""Events that begin or end a run; others are remarks of a running one, or later notes."""
_REASONS = {
    "signal": "Ctrl-C or a signal",
    "request": "lrps stop",
    "duration": "its time limit",
    "interval": "its exit interval",
    "until": "the end of its job's part",
}
_FAILURES = {"refused": "refused", "storage": "storage failed", "failed": "failed"}
_ALERT = {"time": str, "iteration": int, "kind": str, "message": str, "values": dict}


def trained_to(campaign: Campaign, path: PlannedPath, iteration: int) -> bool:
    """Whether the path is trained to an iteration; all commands and jobs use this test.

    It is if its checkpoint there was finished and has the files that its manifest lists, in their sizes, whatever
    happened to the ranks afterwards.
    """
    return (
        path.fork < iteration <= path.end
        and Checkpoint(campaign.folder.path(path.name).checkpoints, iteration).is_whole
    )


def end_is_kept(campaign: Campaign, path: PlannedPath, iteration: int, history: Sequence[Mapping[str, Any]]) -> bool:
    """As ``trained_to``, after ranks have failed: first syncs to disk what they may not have synced.

    Args:
        campaign: The campaign.
        path: The path.
        iteration: The iteration that they were to train it to.
        history: The events that they left, oldest first. A checkpoint whose content they found damaged does not
            count unless they saved it anew.

    Raises:
        StorageError: the disk does not take it, so that it is unknown what a crash of this machine would leave.
    """
    told = [event.get("event") for event in history if event.get("iteration") == iteration]
    if [name for name in told if name in ("saved", "skipped")][-1:] == ["skipped"]:
        return False
    if not trained_to(campaign, path, iteration):
        return False
    folder = Checkpoint(campaign.folder.path(path.name).checkpoints, iteration).folder
    try:
        sync_small_files(folder)
    except OSError as error:
        raise StorageError(
            f"{folder} is the last checkpoint of path {path.name}, and the disk does not confirm it: "
            f"{error.strerror or error}.",
            "have the file system repaired, then run the same command.",
        ) from None
    return True


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A path's state, read from its checkpoints and its history, not from its record.

    Attributes:
        path: The path.
        state: ``waiting`` for its fork point, ``ready``, one of ``HALF_WAY``, or one of ``ENDED``.
        why: The reason for the state, or None.
        saved: The iteration of its newest complete checkpoint, or None; a branch that has saved nothing is at its fork.
        ready: Whether its fork point exists or it needs none.
        torn: Iterations whose save was cut off.
        last_event: The last event of its history, with its time.
        alerts: Its latest alerts, oldest first.
        doing: What the job that holds it does; None if nobody holds it or the job does not say.
    """

    path: PlannedPath
    state: str
    why: str | None
    saved: int | None
    ready: bool
    torn: tuple[int, ...]
    last_event: Mapping[str, Any] | None
    alerts: Sequence[Mapping[str, Any]]
    doing: "Doing | None" = None

    @property
    def done(self) -> bool:
        """Whether it is trained to its end, by ``trained_to``."""
        return self.state in ENDED

    @property
    def position(self) -> int:
        """The iteration that it continues from."""
        return self.saved or self.path.fork

    @property
    def iterations_left(self) -> int:
        """The iterations still to train."""
        return 0 if self.path.mean else self.path.end - max(self.path.fork, self.saved or 0)

    def held_by(self, folder: PathFolder, owner: "Owner | None") -> "Standing":
        """Return this standing with the holder's present activity, which its own files do not have.

        Args:
            folder: The path's folder.
            owner: The job that holds it now, from ``ownership.holder``.
        """
        from megatron_lrps.campaign.activity import Doing, doing_of, starts

        if owner is None and not starts(folder):
            return self
        doing = doing_of(folder, owner) if owner is not None else Doing(what="starting")
        return replace(self, doing=doing) if self.done else replace(self, doing=doing, state="in_progress", why=None)

    def __str__(self) -> str:
        state, why, training = self.state, self.why, self.doing is None or self.doing.what == "training"
        if state == "waiting":
            after = " and ".join(f"{name} at {iteration:,}" for name, iteration in self.path.begins_after)
            return why or f"waiting for {after}"
        if state == "in_progress":
            return "in progress" if training else str(self.doing)
        if state in HALF_WAY:
            words = str(why) if state == "failed" else state
            words += f" at {self.saved:,} of {self.path.end:,}" if self.saved is not None else " before its first save"
            return words if state != "stopped" or why is None else f"{words} ({why})"
        although = f"{state}, although {why}" if why else state
        return although if training else f"{although}, {self.doing}"

    def to_json(self) -> dict[str, Any]:
        """Return the standing as ``lrps status --json`` prints it."""
        path = self.path
        return {
            **{key: getattr(path, key) for key in ("name", "kind", "version", "parent", "fork")},
            "adopted": str(path.adopted) if path.adopted else None,
            "end": path.end,
            "state": self.state,
            "why": self.why,
            "doing": self.doing.to_json() if self.doing else None,
            "saved": self.saved,
            "iterations_left": self.iterations_left,
            "torn": list(self.torn),
            "last_event": self.last_event,
            "alerts": list(self.alerts),
        }


def standing_of(campaign: Campaign, path: PlannedPath) -> Standing:
    """Return a path's standing by its files alone; ``Standing.held_by`` adds its holder."""
    folder = campaign.folder.path(path.name)
    own = Checkpoints.in_folder(folder.checkpoints)
    done = trained_to(campaign, path, path.end)
    saved = max((iteration for iteration in own.complete if path.fork < iteration < path.end + done), default=None)
    ready = saved is not None or all(each.is_complete for each in _needed(campaign, path))
    history = events(folder)
    last = history[-1] if history else None
    turns = [event for event in history if event.get("event") in _TURNS]
    turn = turns[-1] if turns else {}
    begun = saved is not None or any(event["event"] == "started" for event in turns)
    why = None
    if done:
        from megatron_lrps.campaign.releases import releases_of

        released = releases_of(folder, path.end)
        state = "released" if released else "trained"
        why = "it did not meet its gate" if any(each.get("unmet") for each in released) else None
    elif begun:
        state = {"started": "interrupted", **dict.fromkeys(_FAILURES, "failed")}.get(str(turn.get("event")), "stopped")
        why = _why(turn)
    elif ready:
        state = "ready"
    else:
        state, why = "waiting", passed(campaign, path)
    return Standing(
        path=path,
        state=state,
        why=why,
        saved=saved,
        ready=ready,
        torn=own.torn,
        last_event={"event": last.get("event"), "time": last.get("time")} if last else None,
        alerts=alerts_of(history),
    )


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


def passed(campaign: Campaign, path: PlannedPath) -> str | None:
    """Return why a checkpoint that a path begins from will never be saved, or None.

    A parent saves it when it reaches that iteration.
    """
    if path.adopted is not None:
        return f"{path.adopted} has no checkpoint of iteration {path.fork:,}"
    for needed in _needed(campaign, path):
        newest = Checkpoints.in_folder(needed.save).newest
        if not needed.is_complete and (newest or 0) > needed.iteration:
            return f"{needed.save.parent.name} is past {needed.iteration:,} and has no checkpoint there"
    return None


def _needed(campaign: Campaign, path: PlannedPath) -> list[Checkpoint]:
    """Return the checkpoints that a path begins from: its fork point, or all those that it is a mean of."""
    origin = campaign.folder.origin(path)
    if path.mean or origin is None:
        return campaign.folder.parts_of(path)
    return [Checkpoint(origin, path.fork)]


def alerts_of(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the latest alerts among a path's events, oldest first; values of the wrong type are null.

    Args:
        history: Lines of events.jsonl, oldest first.
    """
    found = [event for event in history if event.get("event") == "alert"]
    return [
        {key: value if type(value := event.get(key)) is kind else None for key, kind in _ALERT.items()}
        for event in found[-LATEST:]
    ]


def alert_words(alert: Mapping[str, Any]) -> str:
    """Return an alert as one line, whatever its record holds."""
    where = "?" if alert["iteration"] is None else f"{alert['iteration']:,}"
    text = alert["message"] or alert["kind"] or "without a word"
    return f"alert at iteration {where}: {text if text.isprintable() else repr(text)} ({alert['time'] or 'no time'})"
