"""The current state of every path of a campaign, from files on disk, cheap to read again and again."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.stall import Stall, stall_of
from megatron_lrps.campaign.standing import Standing, alert_words, standing_of
from megatron_lrps.errors import LrpsError
from megatron_lrps.monitor.scalar_follower import Figures, Follower, fingerprint
from megatron_lrps.plan import PlannedPath
from megatron_lrps.storage.owner import BEAT_S, Owner
from megatron_lrps.storage.ownership import FILE, holder

QUIET_S, QUIET_ITERATIONS = 600.0, 20
"""A path that has logged nothing for ten minutes, or twenty iterations if that is longer, is given no time left."""
BEFORE = ("starting", "reading", "loading")
"""The activities of a job before its first iteration; until then the pace is the previous run's."""


@dataclass(frozen=True, kw_only=True)
class LiveStanding:
    """The current state of a path: its standing, and what it has logged since.

    Attributes:
        path: The path.
        standing: The path's standing, or None if it could never be read.
        held: Whether a job holds it: it trains, starts, or does what is left to do after the last iteration.
        figures: The latest logged figures, or None.
        tokens_per_second: By the clock, saves and evaluations included, or None.
        seconds_left: At this pace; None if it is not being trained.
        age: Seconds since it logged, or None.
        stall: Its stall, or None.
        trouble: A text on what could not be read, or None.
    """

    path: PlannedPath
    standing: Standing | None
    held: bool = False
    figures: Figures | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    age: float | None = None
    stall: Stall | None = None
    trouble: str | None = None

    @property
    def state(self) -> str:
        """The state in words."""
        words = "unknown" if self.standing is None else str(self.standing)
        return f"{words}, stalled" if self.stall else words

    @property
    def done(self) -> bool:
        """Whether it is trained."""
        return self.standing is not None and self.standing.done

    @property
    def begun(self) -> bool:
        """Whether it has trained something; else ``iteration`` is where it will start."""
        return self.standing is not None and (self.standing.saved is not None or self.figures is not None)

    @property
    def iteration(self) -> int:
        """The last logged iteration; for a trained path its end.

        If nobody trains the path, it is the last saved one: later iterations are trained again.
        """
        if self.standing is None:
            return self.path.fork
        if self.figures is not None and self.done:
            return self.path.end
        return self.figures.iteration if self.figures is not None and self.held else self.standing.position

    @property
    def alerts(self) -> list[str]:
        """Its latest alerts in words, oldest first."""
        return [f"{self.path.name}: {alert_words(each)}" for each in (self.standing.alerts if self.standing else ())]


class Watch:
    """A campaign that is looked at again and again; its plan may grow meanwhile.

    Args:
        plan_file: The plan; raises PlanError if it is not one.
    """

    def __init__(self, plan_file: Path) -> None:
        self._file = plan_file
        self._plan_seen = fingerprint(plan_file)
        self.trouble: str | None = None
        self._take(Campaign.open(plan_file))

    def _take(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self._followers = {path.name: Follower(self.campaign.folder.tensorboard(path.name)) for path in campaign.paths}
        self._standings: dict[str, Standing] = {}
        self._seen: Any = None
        self._owners: dict[str, tuple[Any, float, Owner | None]] = {}

    def look(self) -> list[LiveStanding]:
        """Return each path's state, in the plan's order. Anything unreadable is reported with it and tried again."""
        self._reread_plan()
        # A path's state depends on its parent's checkpoints, so one change is checked for all.
        folders = [self.campaign.folder.path(path.name) for path in self.campaign.paths]
        seen = fingerprint(*(file for folder in folders for file in (folder.events, folder.checkpoints, folder.record)))
        if seen != self._seen:
            self._standings, self._seen = {}, seen
        return [self._live(path, time.time()) for path in self.campaign.paths]

    def _reread_plan(self) -> None:
        if (seen := fingerprint(self._file)) == self._plan_seen:
            return
        self._plan_seen = seen
        try:
            self._take(Campaign.open(self._file))
            self.trouble = None
        except LrpsError as error:  # an editor that is half-way through
            self.trouble = f"the plan as it was is shown: {error}"

    def _live(self, path: PlannedPath, now: float) -> LiveStanding:
        trouble, figures = None, None
        try:
            if path.name not in self._standings:
                self._standings[path.name] = standing_of(self.campaign, path)
            figures = self._followers[path.name].look()
        except (OSError, LrpsError) as error:
            trouble = f"{path.name}: {error}"
        alone = self._standings.get(path.name)
        if alone is None:
            return LiveStanding(path=path, standing=None, trouble=trouble)
        owner = self._owner(path)
        standing = alone.held_by(self.campaign.folder.path(path.name), owner)
        held = owner is not None or standing.doing is not None
        live = LiveStanding(
            path=path,
            standing=standing,
            held=held,
            figures=figures,
            stall=stall_of(standing.doing, self.campaign.plan.alerts, now),
            trouble=trouble,
        )
        starts = standing.doing is not None and standing.doing.what in BEFORE
        return live if figures is None else self._timed(live, figures, now, trains=held and not starts)

    def _owner(self, path: PlannedPath) -> Owner | None:
        """Return the path's holder, looked up again at each of its heartbeats, or after as long without one."""
        root = self.campaign.folder.path(path.name).root
        seen, now = fingerprint(root / FILE), time.monotonic()
        known = self._owners.get(path.name)
        if known is None or known[0] != seen or now - known[1] >= BEAT_S:
            self._owners[path.name] = known = (seen, now, holder(root))
        return known[2]

    def _timed(self, live: LiveStanding, figures: Figures, now: float, *, trains: bool) -> LiveStanding:
        age, pace = max(0.0, now - figures.logged_at), figures.seconds
        if pace is None or live.done:
            return replace(live, age=age)
        tree = self.campaign.tree
        tokens = tree.batches.batch_after(max(0, live.iteration - 1)) * tree.plan_of(live.path).sequence_length
        running = trains and age <= max(QUIET_S, QUIET_ITERATIONS * pace)
        return replace(
            live,
            age=age,
            tokens_per_second=tokens / pace if running and pace else None,
            seconds_left=pace * max(0, live.path.end - live.iteration) if running else None,
        )
