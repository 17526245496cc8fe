"""The error classes of all commands, and the exit code of each.

An error says what is wrong, the two values that disagree, and what to do. The command line prints its
text alone, never a traceback.
"""

from typing import ClassVar

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_STORAGE = 74
"""Storage failed: a write did not reach the disk (EX_IOERR)."""
EXIT_CONTINUE = 75
"""Saved and to be continued: a signal or a time limit ended the run (EX_TEMPFAIL)."""
EXIT_REFUSED = 78
"""Refused before anything was trained: plan, flags or preflight (EX_CONFIG)."""


class LrpsError(Exception):
    """An error that is shown as one line: what went wrong, and how to fix it.

    Args:
        what: A full sentence with both values, e.g. ``lr.max is 0.0001, but main was trained with 0.0003``.
        fix: What the user should do, as an imperative sentence. It is shown after "Fix: ".
    """

    exit_code: ClassVar[int] = EXIT_FAILED
    event: ClassVar[str] = "failed"
    """The name of the event in a path's history."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} Fix: {self.fix}" if self.fix else self.what


class RefusedError(LrpsError):
    """A run that would be wrong, or cannot start, is refused before it trains."""

    exit_code = EXIT_REFUSED
    event = "refused"


class PlanError(RefusedError):
    """The plan file is wrong. The text names the key, the value and the fix."""


class StorageError(LrpsError):
    """A write did not reach the disk; what was there before is intact."""

    exit_code = EXIT_STORAGE
    event = "storage"


class StoppedError(LrpsError):
    """The run was stopped on request; it has saved and the same command continues it."""

    exit_code = EXIT_CONTINUE
    event = "stopped"
