"""A request to the job that trains a path: to save for a cut, to save, or to save and stop; and its answer.

``<save>/paths/<path>/cut.json``, ``save.json`` and ``stop.json`` are the requests. The job saves at its next iteration
boundary, answers with an event in the path's history, and removes the request. It works from any machine that sees the
campaign's folder, whatever runs the job.
"""

import contextlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.record import events, log_event
from megatron_lrps.errors import EXIT_CONTINUE, StorageError
from megatron_lrps.storage.files import read_json, write_atomic

Kind = Literal["cut", "save", "stop"]
KINDS: tuple[Kind, ...] = ("cut", "save", "stop")
EVENTS: dict[Kind, str] = {"cut": "cut", "save": "saved_on_request", "stop": "stopped_on_request"}
"""The event with which a job answers."""


@dataclass(frozen=True, kw_only=True)
class PathRequest:
    """A request.

    Attributes:
        kind: What is asked for.
        token: Matches it with its answer.
        name: For a cut, the version that it is for.
        holder: The token of the job that is asked; a later one does not follow it. None: any job.
    """

    kind: Kind
    token: str
    name: str = ""
    holder: str | None = None


def request_file(path: PathFolder, kind: Kind) -> Path:
    """Return the file that holds a request to a path's job."""
    return path.root / f"{kind}.json"


def ask(path: PathFolder, kind: Kind, *, name: str = "", holder: str | None = None) -> PathRequest:
    """Ask a path's job; raises StorageError."""
    request = PathRequest(kind=kind, token=secrets.token_hex(8), name=name, holder=holder)
    given = {"name": name, "token": request.token, "holder": holder}
    write_atomic(request_file(path, kind), json.dumps(given) + "\n")
    return request


def asked(path: PathFolder, kind: Kind) -> PathRequest | None:
    """Return the waiting request of a kind, or None; a torn one counts as none."""
    data = read_json(request_file(path, kind)) or {}
    name, token, holder = data.get("name"), data.get("token"), data.get("holder")
    if not isinstance(name, str) or not isinstance(token, str):
        return None
    return PathRequest(kind=kind, token=token, name=name, holder=holder if isinstance(holder, str) else None)


def withdraw(path: PathFolder, request: PathRequest) -> None:
    """Remove a request, withdrawn or answered, unless the file holds a newer one by now."""
    if asked(path, request.kind) == request:
        request_file(path, request.kind).unlink(missing_ok=True)


def answered(path: PathFolder, request: PathRequest) -> int | None:
    """Return the iteration that the job saved for a request, or None if it has not yet."""
    for event in reversed(events(path)):
        if event.get("event") == EVENTS[request.kind] and event.get("token") == request.token:
            iteration = event.get("iteration")
            return iteration if isinstance(iteration, int) else None
    return None


@dataclass(frozen=True, kw_only=True)
class OverdueEnd:
    """The end of a job that was asked to stop and could not.

    Attributes:
        iteration: The last iteration that it trained, as far as is known.
        saved: The iteration of its last checkpoint.
        seconds: The seconds without progress, after which it was killed.
    """

    iteration: int
    saved: int
    seconds: float

    @property
    def lost(self) -> str:
        """What is lost, in words."""
        lost = self.iteration - self.saved
        return f"the {lost} iterations after its checkpoint at {self.saved} are lost" if lost > 0 else "nothing is lost"


def record_overdue_end(path: PathFolder, request: PathRequest | None, end: OverdueEnd) -> None:
    """Record, before a job is killed that does not stop when asked, that it is.

    Args:
        path: The path's folder.
        request: The request that it does not follow, which is withdrawn; None for a signal.
        end: Where it ends.
    """
    why = {"reason": "signal"} if request is None else {"reason": "request", "token": request.token}
    numbers = {"iteration": end.iteration, "saved": end.saved, "seconds": end.seconds}
    with contextlib.suppress(StorageError, OSError):  # a full disk takes no event, and the job must end nevertheless
        log_event(path, "stopped", **why, **numbers, exit_code=EXIT_CONTINUE)
        if request is not None:
            withdraw(path, request)


def overdue_end(path: PathFolder, request: PathRequest) -> OverdueEnd | None:
    """Return how the job was killed that did not follow a request to stop; None if it was not."""
    for event in reversed(events(path)):
        if event.get("event") == "stopped" and event.get("token") == request.token:
            return OverdueEnd(iteration=event["iteration"], saved=event["saved"], seconds=event["seconds"])
    return None
