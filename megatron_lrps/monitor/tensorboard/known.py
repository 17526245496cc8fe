"""The contents of a path's files: its record and history, what Megatron logged, and what it only printed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.lineage import Facts, facts_of
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.printed_figures import LOSS, SECONDS, THROUGHPUT, Printed, seconds_of
from megatron_lrps.monitor.readable_files import printed_of
from megatron_lrps.monitor.scalars import VALIDATION, VS_SAMPLES, Point, Series, read_points
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.storage.ownership import holder

RATE, NORM = "learning-rate", "grad-norm"
VS_TOKENS = " vs tokens"
PRINTED = "printed/"
BACKFILLED = "backfilled"
"""The run ``<path>/backfilled`` has the figures that only the path's logs hold."""
_PACE = (SECONDS, THROUGHPUT, "iter-energy/gpu", "power/gpu")
"""Tags that Megatron prints, and logs only if it is asked to; then as often as it prints."""

Points = Mapping[str, Sequence[Point]]


@dataclass(frozen=True, kw_only=True)
class Known:
    """The contents of a path's files.

    Attributes:
        path: The path in the plan.
        facts: The facts of its record.
        history: The lines of its events.jsonl, oldest first.
        logged: Tag -> points of Megatron's event files, over iterations.
        printed: The figures in its logs.
        missing: Tag -> points that were printed, and are missing among those that the path logs.
        saved: The iteration of its newest complete checkpoint, or None.
    """

    path: PlannedPath
    facts: Facts
    history: Sequence[Mapping[str, Any]]
    logged: Points
    printed: Printed
    missing: Points
    saved: int | None

    @property
    def begun(self) -> bool:
        """Whether there is anything to show of it."""
        return bool(self.logged or self.missing or self.history)

    @cached_property
    def times(self) -> tuple[float, float]:
        """The times of its first and its last figure or event, in seconds since 1970; 0 if it has none."""
        found = [point.time for points in (self.logged, self.missing) for each in points.values() for point in each]
        found += [time for event in self.history if (time := time_of(event))]
        return min(found, default=0.0), max(found, default=0.0)

    @cached_property
    def losses(self) -> dict[int, float]:
        """Iteration -> training loss, logged or printed."""
        return {point.step: point.value for points in (self.missing, self.logged) for point in points.get(LOSS, ())}

    @property
    def run(self) -> dict[str, Series]:
        """The logged figures without their times: the version table is made from them."""
        return {tag: [(step, value) for step, value, _ in points] for tag, points in self.logged.items()}

    @property
    def pace(self) -> Points:
        """Tag -> points of the times, throughput and power that the path prints and does not log."""
        return {
            PRINTED + tag: self.printed.points[tag] for tag in _PACE if tag in self.printed.points.keys() - self.logged
        }

    @property
    def tags(self) -> set[str]:
        """Every tag of its runs that a chart could show."""
        over_iterations = {*self.logged, *self.missing, *self.pace}
        shared = filter(on_all_axes, over_iterations)
        return over_iterations | {tag + axis for tag in shared for axis in (VS_SAMPLES, VS_TOKENS)}

    @property
    def reached(self) -> int:
        """The last iteration of which anything is known, or 0."""
        steps = [series[-1].step for points in (self.logged, self.missing) for series in points.values()]
        return max([self.saved or 0, *steps])


def known_of(campaign: Campaign, path: PlannedPath, notes: list[str]) -> Known | None:
    """Read a path's files; None, with a note, if one cannot be read: then nothing can be called missing."""
    folder = campaign.folder.path(path.name)
    try:
        logged = read_points(campaign.folder.tensorboard(path.name), _over_iterations)
        before = read_points(campaign.folder.tensorboard(path.name) / BACKFILLED, _over_iterations, derived=True)
        facts = facts_of(campaign, path.name)
    except RefusedError as error:
        notes.append(f"{path.name} is left as it is: {error.what}")
        return None
    printed = printed_of(campaign.folder, path.name, notes)
    until = float(path.end)
    if holder(folder.root) is not None:
        # Its writer holds back what it logged in the last minutes; what it has let out is complete.
        until = max((points[-1].step for points in logged.values()), default=0)
    return Known(
        path=path,
        facts=facts,
        history=events(folder),
        logged=logged,
        printed=printed,
        missing=_missing(campaign.tree, logged, printed.points, before, until=until),
        saved=standing_of(campaign, path).saved,
    )


def _missing(tree: Tree, logged: Points, printed: Points, before: Points, *, until: float) -> dict[str, list[Point]]:
    """Return the points that Megatron would have logged up to ``until``, and has not.

    They are in the logs, or were backfilled before from logs that are gone: then no other copy may be left. From the
    first iteration of the present logs on only these count: what was trained again is in no log any more.
    """
    interval = tree.plan.megatron.get("tensorboard-log-interval", 1)
    every = interval if type(interval) is int and interval > 0 else 1
    first = min((series[0].step for series in printed.values()), default=math.inf)
    found: dict[str, list[Point]] = {}
    for tag in {**printed, **before}:
        have = {point.step for point in logged.get(tag, ())}
        always = tag in _PACE or VALIDATION in tag
        kept = [point for point in before.get(tag, ()) if point.step < first]
        lacking = [
            point
            for point in (printed.get(tag, ()) if tag not in _PACE or tag in logged else ())
            if point.step <= until and (always or point.step % every == 0)
        ]
        if points := [point for point in (*kept, *lacking) if point.step not in have]:
            found[tag] = points
    return found


def on_all_axes(tag: str) -> bool:
    """Whether the figures of a tag are shown over samples and tokens too."""
    return tag in (RATE, LOSS, NORM) or (VALIDATION in tag and not tag.endswith(" ppl"))


def _over_iterations(tag: str) -> bool:
    return not tag.endswith((VS_SAMPLES, VS_TOKENS))


def time_of(event: Mapping[str, Any]) -> float:
    """Return the time of a line of events.jsonl, in seconds since 1970; 0 if it has none."""
    time = event.get("time")
    return (seconds_of(time) if isinstance(time, str) else None) or 0.0
