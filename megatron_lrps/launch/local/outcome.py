"""How an attempt to train a path ended, judged by its checkpoints, its ranks' events and their log."""

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.standing import end_is_kept, standing_of
from megatron_lrps.errors import (
    EXIT_CONTINUE,
    EXIT_REFUSED,
    EXIT_STORAGE,
    LrpsError,
    RefusedError,
    StoppedError,
    StorageError,
)
from megatron_lrps.launch.local.progress_display import Display
from megatron_lrps.launch.local.rank_output import failed_rank, last_lines, left_word
from megatron_lrps.plan import PlannedPath

_ENDINGS = ("done", "stopped", "refused", "storage", "failed")
_BY_CODE = {EXIT_STORAGE: "storage", EXIT_CONTINUE: "stopped", EXIT_REFUSED: "refused"}


@dataclass(kw_only=True)
class Attempt:
    """One start of the ranks of a path.

    Attributes:
        campaign: The campaign.
        path: The path.
        log: The file that the ranks print to.
        word: The file in which the first rank that fails leaves its reason; on another disk than the campaign, if
            possible, since a full one takes neither log nor event.
        start: The iteration of the checkpoint that they start from.
        reached: The last iteration that the ranks reported.
        asked: The signal that asked the ranks to save and stop, or None.
        killed: Whether the ranks were killed on request.
        stalled: The stall for which they were killed; None if there was none.
        overdue: The seconds without progress after which they were killed, though asked to save and stop; None if not.
    """

    campaign: Campaign
    path: PlannedPath
    log: Path
    word: Path
    start: int
    reached: int = field(init=False)
    asked: signal.Signals | None = field(default=None, init=False)
    killed: bool = field(default=False, init=False)
    stalled: str | None = field(default=None, init=False)
    overdue: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.reached = self.start

    def saved(self) -> int:
        """The iteration that a further attempt would start from."""
        return standing_of(self.campaign, self.path).saved or self.start


def conclude(attempt: Attempt, history: list[dict[str, Any]], display: Display) -> None:
    """Return if the path is trained to its end, else raise the error that explains why not.

    Args:
        attempt: The attempt; none of its processes is left.
        history: The events that the attempt recorded, oldest first.
        display: Shows the last lines of a failed attempt.

    Raises:
        StoppedError: stopped on request or by a limit, with or without having saved.
        RefusedError: the ranks refused, in their own words.
        StorageError: the ranks could not write.
        LrpsError: anything else.
    """
    name = attempt.path.name
    ending: dict[str, Any] = next((each for each in reversed(history) if each.get("event") in _ENDINGS), {})
    failure = failed_rank(attempt.log)
    # A rank that refuses before it knows its path, or whose disk is full, records no event, but torchrun's report has
    # its exit code.
    left = left_word(attempt.word)
    code = left.code if left else failure.code if failure else 0
    kind = ending.get("event") or _BY_CODE.get(code)
    message = ending.get("message") or (left.text if left else None)
    if end_is_kept(attempt.campaign, attempt.path, attempt.path.end, history):
        display.finish(name)
        if kind is None and failure and not attempt.asked:
            display.say(f"{name} is trained, and its last checkpoint whole; afterwards {failure}; see {attempt.log}")
        return
    if kind == "refused":
        raise RefusedError(f"path {name}: {message or _said(attempt.log)}")
    if kind == "storage":
        what, _, fix = str(message or _said(attempt.log)).partition(" Fix: ")
        raise StorageError(
            f"path {name}: {what}",
            f"{fix.rstrip('.') or 'make room, then run the same command'}; it continues from iteration "
            f"{attempt.saved()}, and the log is {attempt.log}.",
        )
    if attempt.overdue is not None:
        how = f"was asked to save and stop, made no progress for {attempt.overdue:g} s, and was killed at iteration"
        raise _stopped(attempt, f"{how} {attempt.reached}")
    if kind == "stopped":
        at, reason = ending.get("iteration", attempt.reached), ending.get("reason", "for no reason that it gave")
        raise _stopped(attempt, f"stopped at iteration {at} ({reason})")
    if attempt.stalled is not None:
        raise _stopped(attempt, f"was ended at iteration {attempt.reached} for a {attempt.stalled}")
    if attempt.killed:
        raise _stopped(attempt, f"was killed at iteration {attempt.reached}")
    # Before Megatron listens to it, the signal ends a rank; while torchrun starts, there is no rank to fail.
    if attempt.asked and (failure is None or failure.code == -attempt.asked):
        raise _stopped(attempt, f"was stopped at iteration {attempt.reached}, before its ranks could save")
    if kind == "failed":
        raise LrpsError(f"path {name} failed at iteration {attempt.reached}: {message}")
    for line in last_lines(attempt.log):
        display.say(f"  {line}")
    began = any(event.get("event") == "started" for event in history)
    ended = "its ranks ended before its last iteration" if began else "its ranks ended before they had begun"
    why = failure or (left and left.who) or ended
    raise LrpsError(
        f"path {name} failed at iteration {attempt.reached}: {why}; all output of its ranks is in {attempt.log}.",
        f"remove the cause; then run the same command to continue from iteration {attempt.saved()}.",
    )


def _said(log: Path) -> str:
    """Return the last LrpsError that the ranks printed, or their last line."""
    lines = last_lines(log, 200)
    errors = [line.removeprefix("lrps: ") for line in lines if line.startswith("lrps: ")]
    return (errors or lines or ["it gave no reason"])[-1]


def _stopped(attempt: Attempt, how: str) -> StoppedError:
    saved = attempt.saved()
    lost = attempt.reached - saved
    what = f"path {attempt.path.name} {how}"
    what += f"; the {lost} iterations after its checkpoint at {saved} are lost." if lost > 0 else "; nothing is lost."
    return StoppedError(what, f"run the same command to continue from iteration {saved}.")
