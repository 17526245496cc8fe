"""Where a path stands, read from its checkpoints, its history and its holder; and what makes it trained."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.manifest import sync_small_files
from megatron_lrps.campaign.record import events
from megatron_lrps.plan import PlannedPath

if TYPE_CHECKING:  # `lrps plan` asks for no holder and hardly for a release, and starts without what knows of them
    from megatron_lrps.campaign.activity import Doing
    from megatron_lrps.storage.owner import Owner

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
_ALERT = {"time": str, "iteration": int, "kind": str, "message": str, "values": dict}


def trained_to(campaign: Campaign, path: PlannedPath, iteration: int) -> bool:
    """Whether the path is trained to an iteration: the one judgement of all commands and jobs.

    Its checkpoint there was finished and has the files that its manifest lists, in their sizes. What happened to the
    ranks afterwards takes nothing away from it.
    """
    return (
        path.fork < iteration <= path.end
        and Checkpoint(campaign.folder.path(path.name).checkpoints, iteration).is_whole
    )


def end_is_kept(campaign: Campaign, path: PlannedPath, iteration: int, history: Sequence[Mapping[str, Any]]) -> bool:
    """As ``trained_to``, after ranks have failed: what they may not have come to is written to the disk first.

    Args:
        campaign: The campaign.
        path: The path.
        iteration: The iteration that they were to train it to.
        history: The events that they left, oldest first: a checkpoint in whose content they found damage, and that
            they have not saved anew, is none.
    """
    told = [event.get("event") for event in history if event.get("iteration") == iteration]
    if [name for name in told if name in ("saved", "skipped")][-1:] == ["skipped"]:
        return False
    if not trained_to(campaign, path, iteration):
        return False
    try:
        sync_small_files(Checkpoint(campaign.folder.path(path.name).checkpoints, iteration).folder)
    except OSError:  # then nobody knows what a crash of this machine would leave
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a path stands, read from its checkpoints and its history (not from what its record claims).

    Attributes:
        path: The path.
        state: ``waiting`` for its fork point, ``ready``, one of ``HALF_WAY``, or one of ``ENDED``.
        why: What explains the state, or None.
        saved: The iteration of its newest complete checkpoint, or None; a branch that has saved nothing is at its fork.
        ready: Its fork point exists, or it needs none.
        torn: Iterations whose save was cut off.
        last_event: The last event of its history, with its time.
        alerts: Its latest alerts, oldest first.
        doing: What the job that holds it does; None where nobody holds it, or the job does not say.
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
        """Whether it is trained to its end, as ``trained_to`` judges."""
        return self.state in ENDED

    @property
    def position(self) -> int:
        """The iteration that it goes on from."""
        return self.saved or self.path.fork

    @property
    def iterations_left(self) -> int:
        """How many iterations are still to be trained."""
        return self.path.end - max(self.path.fork, self.saved or 0)

    def held_by(self, folder: PathFolder, owner: "Owner | None") -> "Standing":
        """The same with what the path's holder does now; the files that it was read from say nothing of that.

        Args:
            folder: The path's folder.
            owner: Who holds it now, as ``ownership.holder`` says.
        """
        from megatron_lrps.campaign.activity import Doing, doing_of, starts

        if owner is None and not starts(folder):
            return self
        doing = doing_of(folder, owner) if owner is not None else Doing(what="starting")
        return replace(self, doing=doing) if self.done else replace(self, doing=doing, state="in_progress", why=None)

    def __str__(self) -> str:
        state, why, training = self.state, self.why, self.doing is None or self.doing.what == "training"
        if state == "waiting":
            return why or f"waiting for {self.path.parent} at {self.path.fork:,}"
        if state == "in_progress":
            return "in progress" if training else str(self.doing)
        if state in HALF_WAY:
            words = str(why) if state == "failed" else state
            words += f" at {self.saved:,} of {self.path.end:,}" if self.saved is not None else " before its first save"
            return words if state != "stopped" or why is None else f"{words} ({why})"
        although = f"{state}, although {why}" if why else state
        return although if training else f"{although}, {self.doing}"

    def to_json(self) -> dict[str, Any]:
        """As ``lrps status --json`` gives it."""
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
    """Where a path stands by its files, however often they are looked at; ``Standing.held_by`` adds its holder."""
    folder = campaign.folder.path(path.name)
    own = Checkpoints.in_folder(folder.checkpoints)
    done = trained_to(campaign, path, path.end)
    saved = max((iteration for iteration in own.complete if path.fork < iteration < path.end + done), default=None)
    origin = campaign.folder.origin(path)
    ready = origin is None or saved is not None or path.fork in Checkpoints.in_folder(origin).complete
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
        state, why = "waiting", _passed(campaign, path)
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


def _passed(campaign: Campaign, path: PlannedPath) -> str | None:
    """Why a fork point will never be there, or None: a parent saves it when it comes by."""
    if path.adopted is not None:
        return f"{path.adopted} has no checkpoint of iteration {path.fork:,}"
    newest = Checkpoints.in_folder(campaign.folder.path(str(path.parent)).checkpoints).newest
    return f"{path.parent} is past {path.fork:,} and has no checkpoint there" if (newest or 0) > path.fork else None


def alerts_of(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The latest alerts of a path's events, oldest first; what has the wrong type in them is null.

    Args:
        history: Lines of events.jsonl, oldest first.
    """
    found = [event for event in history if event.get("event") == "alert"]
    return [
        {key: value if type(value := event.get(key)) is kind else None for key, kind in _ALERT.items()}
        for event in found[-LATEST:]
    ]


def alert_words(alert: Mapping[str, Any]) -> str:
    """An alert on one line, whatever its record holds."""
    where = "?" if alert["iteration"] is None else f"{alert['iteration']:,}"
    text = alert["message"] or alert["kind"] or "without a word"
    return f"alert at iteration {where}: {text if text.isprintable() else repr(text)} ({alert['time'] or 'no time'})"
