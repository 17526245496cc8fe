"""Stragglers: ranks, or nodes, that are slower than the others and so slow all of them down.

All ranks need the same time for an iteration, since they wait for each other. The slow one is the one that does not
wait: its own part of the iteration is longer than that of the ranks that do the same work.
"""

import bisect
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from megatron_lrps.campaign.pace import Pace
from megatron_lrps.plan.keys.alerts import Alerts

KIND = "straggler"
_LEAST_SHARE = 0.1
"""What a straggler costs is at least this share of an iteration; less is not worth anybody's night."""


@dataclass(frozen=True, kw_only=True)
class Straggler:
    """A slow rank, or a node with slow ranks.

    Attributes:
        ranks: The slow ranks.
        node: The name of their node.
        whole: Whether they are most of the ranks of that node, and there are other nodes.
        own: The median of their own seconds of an iteration.
        others: The median of the others that do the same work.
        seconds: The seconds that all ranks need for an iteration.
    """

    ranks: tuple[int, ...]
    node: str
    whole: bool
    own: float
    others: float
    seconds: float

    @property
    def values(self) -> dict[str, float]:
        """The numbers by name."""
        return {"rank": self.ranks[0], "own": self.own, "others": self.others, "seconds": self.seconds}

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.ranks))
        who = f"node {self.node} (ranks {numbers})" if self.whole else f"rank {numbers} on {self.node}"
        return (
            f"{who} needs {self.own:.3g} s of its own for an iteration, {self.own / self.others:.3g} times the "
            f"{self.others:.3g} s of the others that do the same work; an iteration takes {self.seconds:.3g} s"
        )


def stragglers(pace: Pace | None, rules: Alerts) -> list[Straggler]:
    """Return the stragglers of a job, the slowest first.

    Args:
        pace: What its first rank reports.
        rules: The plan's rules.
    """
    if rules.straggler is None or pace is None or pace.iterations < rules.window // 4:
        return []
    same_work: dict[int, list[int]] = defaultdict(list)
    for rank, stage in enumerate(pace.stages):
        same_work[stage].append(rank)
    slow: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for ranks in same_work.values():
        rising = sorted(pace.own[rank] for rank in ranks)
        for rank in ranks:
            others = _median_without(rising, pace.own[rank])
            late = pace.own[rank] - others if others else 0.0
            if others and late > (rules.straggler - 1) * others and late >= _LEAST_SHARE * pace.seconds:
                slow[pace.nodes[rank]].append((rank, others))
    found = []
    for node, its in slow.items():
        all_there = sum(name == node for name in pace.nodes)
        whole = 1 < len(its) > all_there / 2 and all_there < len(pace.nodes)
        for group in [its] if whole else [[one] for one in its]:
            found.append(
                Straggler(
                    ranks=tuple(rank for rank, _ in group),
                    node=node,
                    whole=whole,
                    own=statistics.median(pace.own[rank] for rank, _ in group),
                    others=statistics.median(others for _, others in group),
                    seconds=pace.seconds,
                )
            )
    return sorted(found, key=lambda each: each.own / each.others, reverse=True)


class StragglerJudge:
    """Tells each straggler once, until it has kept up for the rules' ``cool_down``.

    Args:
        rules: The plan's rules.
    """

    def __init__(self, rules: Alerts) -> None:
        self._rules = rules
        self._seen: dict[tuple[int, ...], float] = {}

    def look(self, pace: Pace | None, now: float) -> list[Straggler]:
        """Return the stragglers that are new.

        Args:
            pace: What the job reports.
            now: Seconds of a monotonic clock.
        """
        found = stragglers(pace, self._rules)
        self._seen = {ranks: at for ranks, at in self._seen.items() if now - at < self._rules.cool_down}
        new = [each for each in found if each.ranks not in self._seen]
        self._seen |= {each.ranks: now for each in found}
        return new


def _median_without(rising: Sequence[float], value: float) -> float:
    """Return the median of rising values without one of them; 0 if no other is left.

    If there are two in the middle it is the lower one: of three ranks, two may be slow.
    """
    if len(rising) < 2:
        return 0.0
    middle = (len(rising) - 2) // 2
    return rising[middle + (bisect.bisect_left(rising, value) <= middle)]
