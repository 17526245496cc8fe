"""Where every path of a campaign is right now, from files on disk, looked at again and again for little."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.standing import ENDED, alert_words, standing_alone, standing_now, state_words
from megatron_lrps.errors import LrpsError
from megatron_lrps.monitor.scalar_follower import Figures, Follower, fingerprint
from megatron_lrps.plan import PlannedPath, Tree, expand, load_plan
from megatron_lrps.storage.ownership import BEAT_S, FILE, Owner, holder

QUIET_S, QUIET_ITERATIONS = 600.0, 20
"""A path that has logged nothing for ten minutes, or twenty iterations where that is longer, is given no time left."""
BEFORE = ("starting", "reading", "loading")
"""What a job does before its first iteration; the pace so far is that of the run before it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One path.

    Attributes:
        name: Its own.
        state: In words.
        iteration: The last one logged; of a trained path its end, of one that nobody trains what is saved: what it
            has logged after that is trained again.
        end: Its last iteration.
        begun: It has trained something; else ``iteration`` is where it will start.
        done: It is trained.
        held: A job holds it: it trains, starts, or does what is left to do after the last iteration.
        figures: What it logged last, or None.
        tokens_per_second: By the clock, saves and evaluations included, or None.
        seconds_left: At this pace; None where it is not being trained.
        age: Seconds since it logged, or None.
        alerts: Its latest alerts, oldest first, in words.
        trouble: What could not be read, or None.
    """

    name: str
    state: str
    iteration: int
    end: int
    begun: bool
    done: bool
    held: bool = False
    figures: Figures | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    age: float | None = None
    alerts: tuple[str, ...] = ()
    trouble: str | None = None


class Watch:
    """A campaign that is looked at again and again; its plan may grow meanwhile.

    Args:
        plan_file: The plan; raises PlanError where it is none.
    """

    def __init__(self, plan_file: Path) -> None:
        self._file = plan_file
        self._plan_seen = fingerprint(plan_file)
        self.trouble: str | None = None
        self._take(expand(load_plan(plan_file)))

    def _take(self, tree: Tree) -> None:
        self.tree, self.campaign = tree, CampaignFolder(tree.plan.folder)
        self._followers = {path.name: Follower(self.campaign.tensorboard(path.name)) for path in tree.paths}
        self._standings: dict[str, Mapping[str, Any]] = {}
        self._seen: Any = None
        self._owners: dict[str, tuple[Any, float, Owner | None]] = {}

    def look(self) -> list[Row]:
        """A row for each path, in the plan's order. What cannot be read is said in its row and tried again."""
        self._reread_plan()
        # A path's state depends on its parent's checkpoints, so one change is looked into for all.
        folders = [self.campaign.path(path.name) for path in self.tree.paths]
        seen = fingerprint(*(file for folder in folders for file in (folder.events, folder.checkpoints, folder.record)))
        if seen != self._seen:
            self._standings, self._seen = {}, seen
        return [self._row(path, time.time()) for path in self.tree.paths]

    def _reread_plan(self) -> None:
        if (seen := fingerprint(self._file)) == self._plan_seen:
            return
        self._plan_seen = seen
        try:
            self._take(expand(load_plan(self._file)))
            self.trouble = None
        except LrpsError as error:  # an editor that is half-way through
            self.trouble = f"the plan as it was is shown: {error}"

    def _row(self, path: PlannedPath, now: float) -> Row:
        trouble, figures = None, None
        try:
            if path.name not in self._standings:
                self._standings[path.name] = standing_alone(self.campaign, path)
            figures = self._followers[path.name].look()
        except (OSError, LrpsError) as error:
            trouble = f"{path.name}: {error}"
        alone = self._standings.get(path.name)
        if alone is None:
            return Row(
                name=path.name,
                state="unknown",
                iteration=path.fork,
                end=path.end,
                begun=False,
                done=False,
                trouble=trouble,
            )
        owner = self._owner(path)
        stands = standing_now(self.campaign.path(path.name), alone, owner)
        alerts = tuple(f"{path.name}: {alert_words(alert)}" for alert in stands["alerts"])
        done = stands["state"] in ENDED
        held = owner is not None or stands["doing"] is not None
        place = stands["saved"] or path.fork
        if figures is not None and (held or done):
            place = path.end if done else figures.iteration
        row = Row(
            name=path.name,
            state=state_words(stands),
            iteration=place,
            end=path.end,
            begun=stands["saved"] is not None or figures is not None,
            done=done,
            held=held,
            figures=figures,
            alerts=alerts,
            trouble=trouble,
        )
        starts = stands["doing"] is not None and stands["doing"]["what"] in BEFORE
        return row if figures is None else self._timed(row, figures, now, trains=held and not starts)

    def _owner(self, path: PlannedPath) -> Owner | None:
        """Who holds the path. Whether another machine's job lives is asked with each of its heartbeats, or instead."""
        root = self.campaign.path(path.name).root
        seen, now = fingerprint(root / FILE), time.monotonic()
        known = self._owners.get(path.name)
        if known is None or known[0] != seen or now - known[1] >= BEAT_S:
            self._owners[path.name] = known = (seen, now, holder(root))
        return known[2]

    def _timed(self, row: Row, figures: Figures, now: float, *, trains: bool) -> Row:
        age, pace = max(0.0, now - figures.logged_at), figures.seconds
        if pace is None or row.done:
            return replace(row, age=age)
        plan = self.tree.plan
        running = trains and age <= max(QUIET_S, QUIET_ITERATIONS * pace)
        return replace(
            row,
            age=age,
            tokens_per_second=plan.global_batch_size * plan.sequence_length / pace if running and pace else None,
            seconds_left=pace * max(0, row.end - row.iteration) if running else None,
        )
