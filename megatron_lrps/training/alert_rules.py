"""The rules that decide which of a path's figures are worth an alert. Each takes a few microseconds per iteration.

The rules and their numbers are the plan's (``plan/keys/alerts.py``). Medians and median absolute deviations, not means:
one spike must not hide the next one.
"""

import bisect
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from megatron_lrps.plan.keys.alerts import Alerts

SIGMA = 1.4826
"""The standard deviation per median absolute deviation, for normally distributed values."""
LEAST_SIGMA = 0.005
"""The standard deviation counts as at least this share of the median: a loss that hardly moves has no spikes."""


@dataclass(frozen=True)
class Alert:
    """An event that somebody should know of.

    Attributes:
        kind: ``not_finite``, ``skipped``, ``loss_spike``, ``divergence``, ``grad_norm`` or ``rejected`` (Megatron's
            own check has ended the run).
        iteration: The iteration at which it was seen.
        message: The alert in words, with the numbers.
        values: The numbers by name. A number that is not finite is a text, since JSON has no other form for it.
    """

    kind: str
    iteration: int
    message: str
    values: Mapping[str, float | str]


class RecentValues:
    """The last ``size`` values, with their median."""

    def __init__(self, size: int) -> None:
        self._values: deque[float] = deque(maxlen=size)
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def values(self) -> list[float]:
        """The values, oldest first."""
        return list(self._values)

    @property
    def full(self) -> bool:
        """Whether it holds as many as it can."""
        return len(self._values) == self._values.maxlen

    @property
    def median(self) -> float:
        """The median; the upper of the two in the middle if their number is even."""
        return self._sorted[len(self._sorted) // 2]

    @property
    def deviation(self) -> float:
        """The median absolute deviation from the median."""
        middle = self.median
        return sorted(abs(value - middle) for value in self._sorted)[len(self._sorted) // 2]

    def add(self, value: float) -> None:
        """Take a finite value in; the oldest goes if it is full."""
        if self.full:
            del self._sorted[bisect.bisect_left(self._sorted, self._values[0])]
        self._values.append(value)
        bisect.insort(self._sorted, value)


class Watcher:
    """The judge of one path's figures as they come.

    Args:
        rules: The rules of the plan.
    """

    def __init__(self, rules: Alerts) -> None:
        self._rules = rules
        self._least = rules.window // 4
        self._losses, self._norms = RecentValues(rules.window), RecentValues(rules.window)
        self._best = math.inf
        self._skipped = 0

    def memory(self) -> dict[str, Any]:
        """Return the state of the rules, as JSON."""
        best = self._best if math.isfinite(self._best) else None
        recent = {"losses": self._losses.values, "norms": self._norms.values}
        return {"window": self._rules.window, **recent, "best": best, "skipped": self._skipped}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Restore a saved state; one of another length, or a damaged one, is ignored."""
        losses, norms, best, skipped = (memory.get(key) for key in ("losses", "norms", "best", "skipped"))
        known = _finite(losses) and _finite(norms) and (best is None or _finite([best])) and type(skipped) is int
        if not known or memory.get("window") != self._rules.window:
            return
        for recent, values in ((self._losses, losses), (self._norms, norms)):
            for value in values or ():
                recent.add(float(value))
        self._best, self._skipped = math.inf if best is None else float(best), skipped or 0

    def see(self, iteration: int, loss: float | None, norm: float | None, *, skipped: bool) -> list[Alert]:
        """Return the alerts of an iteration.

        Args:
            iteration: The iteration that has just been trained.
            loss: The loss in nats per token; None if it was not logged.
            norm: The norm of the gradient before clipping; None if there is none.
            skipped: Whether the optimizer left the weights as they were.
        """
        found = [self._count(iteration, skipped), self._finite(iteration, loss, norm)]
        # One after the other: a figure is judged by those before it, and then is one of them.
        if loss is not None and math.isfinite(loss):
            found.append(self._spike(iteration, loss))
            self._losses.add(loss)
            found.append(self._divergence(iteration))
        if norm is not None and math.isfinite(norm):
            found.append(self._norm(iteration, norm))
            self._norms.add(norm)
        return [alert for alert in found if alert is not None]

    def _count(self, iteration: int, skipped: bool) -> Alert | None:
        self._skipped = self._skipped + 1 if skipped else 0
        if self._rules.skipped is None or self._skipped < self._rules.skipped:
            return None
        message = f"the optimizer has skipped {self._skipped} iterations in a row"
        return Alert("skipped", iteration, message, {"in_a_row": self._skipped})

    def _finite(self, iteration: int, loss: float | None, norm: float | None) -> Alert | None:
        given = {"loss": loss, "grad_norm": norm}
        wrong = {name: str(value) for name, value in given.items() if value is not None and not math.isfinite(value)}
        if not self._rules.not_finite or not wrong:
            return None
        message = " and ".join(f"the {_WORDS[name]} is {value}" for name, value in wrong.items())
        return Alert("not_finite", iteration, message, wrong)

    def _spike(self, iteration: int, loss: float) -> Alert | None:
        limit = self._rules.loss_spike
        if limit is None or len(self._losses) < self._least:
            return None
        median = self._losses.median
        least = LEAST_SIGMA * abs(median)
        if loss <= median + limit * least:  # the deviation is the slowest part
            return None
        sigma = max(SIGMA * self._losses.deviation, least)
        if loss <= median + limit * sigma:
            return None
        message = f"the loss is {loss:.4g}, {(loss - median) / sigma:.3g} standard deviations above {median:.4g}"
        return Alert("loss_spike", iteration, message, {"loss": loss, "median": median, "sigma": sigma})

    def _divergence(self, iteration: int) -> Alert | None:
        if self._rules.divergence is None or not self._losses.full:
            return None
        median = self._losses.median
        self._best = min(self._best, median)
        if median <= self._best + self._rules.divergence:
            return None
        message = f"the median loss of {self._rules.window} iterations is {median:.4g}, and has been {self._best:.4g}"
        return Alert("divergence", iteration, message, {"median": median, "best": self._best})

    def _norm(self, iteration: int, norm: float) -> Alert | None:
        limit = self._rules.grad_norm
        if limit is None or len(self._norms) < self._least or norm <= limit * (median := self._norms.median):
            return None
        times = f"{norm / median:.3g} times" if median else "above"
        message = f"the gradient norm is {norm:.4g}, {times} its median {median:.4g}"
        return Alert("grad_norm", iteration, message, {"grad_norm": norm, "median": median})


def _finite(values: Any) -> bool:
    """Whether these are numbers that a rule can use."""
    return isinstance(values, list) and all(type(each) in (int, float) and math.isfinite(each) for each in values)


_WORDS = {"loss": "loss", "grad_norm": "gradient norm"}
