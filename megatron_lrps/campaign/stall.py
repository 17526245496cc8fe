"""A stall: a job shows no progress for longer than the plan's rule allows, judged by what its first rank reports.

The judge is outside of the ranks, since a rank that waits for ever reports nothing: ``lrps run``, the job's
script and ``lrps status`` look at ``<path>/doing.json``.
"""

from dataclasses import dataclass, replace
from typing import Any

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.plan.keys.alerts import Alerts

KIND = "stall"


@dataclass(frozen=True, kw_only=True)
class Stall:
    """A job without progress.

    Attributes:
        doing: What its first rank reported last.
        seconds: The seconds since it last made progress.
        limit: The seconds that the rule allows.
    """

    doing: Doing
    seconds: float
    limit: float

    @property
    def iteration(self) -> int:
        """The last iteration that was trained, as far as is known."""
        return self.doing.iteration or 0

    @property
    def values(self) -> dict[str, float]:
        """The numbers by name, for an alert."""
        return {"seconds": self.seconds, "limit": self.limit}

    def to_json(self) -> dict[str, Any]:
        """Return the stall as ``lrps status --json`` prints it."""
        return {**self.values, "message": str(self)}

    def __str__(self) -> str:
        if self.doing.what == "training":
            words = f"no iteration has ended for {self.seconds:,.0f} s"
            if self.doing.median is not None:
                words += f", and one takes {self.doing.median:.3g} s"
            return f"{words}; the limit is {self.limit:,.0f} s"
        return f"{self.doing}, for {self.seconds:,.0f} s without progress; the limit is {self.limit:,.0f} s"


def stall_of(doing: Doing | None, rules: Alerts, now: float) -> Stall | None:
    """Return a job's stall; None if it is within its limit, if its activity is unknown, or if the rule is off.

    Args:
        doing: What the job reports.
        rules: The plan's rules.
        now: The time in seconds since 1970.
    """
    if rules.stall is None or doing is None or doing.at is None:
        return None
    limit = rules.stall_pause
    if doing.what == "training" and doing.median is not None:
        limit = max(rules.stall_least, rules.stall * doing.median)
    seconds = now - doing.at
    return Stall(doing=doing, seconds=seconds, limit=limit) if seconds > limit else None


class StallJudge:
    """Tells each stall of a job once, by the clock of this process: nodes have clocks of their own, and clocks jump.

    Args:
        rules: The plan's rules.
    """

    def __init__(self, rules: Alerts) -> None:
        self._rules = rules
        self._seen: tuple[str, float] | None = None
        self._since = 0.0
        self._told = False

    def look(self, doing: Doing | None, now: float) -> Stall | None:
        """Return a stall that is new.

        Args:
            doing: What the job reports.
            now: Seconds of a monotonic clock.
        """
        if doing is None or doing.at is None:
            return None
        if (seen := (doing.what, doing.at)) != self._seen:
            self._seen, self._since, self._told = seen, now, False
        stall = stall_of(replace(doing, at=self._since), self._rules, now)
        if stall is None or self._told:
            return None
        self._told = True
        return stall
