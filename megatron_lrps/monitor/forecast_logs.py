"""The logged losses of a campaign for the annealing law: averaged over pieces, branches beside main."""

from functools import cached_property

import numpy as np

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.annealing import Floats, Pieces, Rates
from megatron_lrps.monitor.scalars import finite, read_scalars
from megatron_lrps.plan import PlannedPath
from megatron_lrps.plan.flags import lr_range
from megatron_lrps.plan.paths import MAIN
from megatron_lrps.schedule import Schedule

LEAST = 100
"""The fewest logged iterations of main that a fit needs after those left out."""
LEFT_OUT = 0.1
"""The first share of main's logged iterations after the warm-up is not fitted: no power law falls as steeply."""
PIECES, SHORTEST = 200, 5
"""Main's losses are averaged over so many pieces, of five logged iterations at least; branches over pieces as long."""
LAST, LAST_SHARE = 20, 0.05
"""A final loss is the mean over the last twentieth of the version's iterations, twenty at least."""


class Logs:
    """The losses that main and its branches have logged, and the learning rates that they had.

    Args:
        campaign: The campaign.

    Attributes:
        series: Path -> its finite losses, (iteration, loss).
        reached: Main's last logged iteration.
        since: The iteration after which losses are fitted.
        pieces: Path -> its losses in pieces; a path that has logged too few is not there.
        finished: Branches that have logged their last iteration.
        apart: Names of branches that read data of their own (``branch.data``), and so are not fitted.

    Raises:
        RefusedError: There is no main path, the batch rises, too little is logged, or an event file cannot be read.
    """

    def __init__(self, campaign: Campaign) -> None:
        tree = self.tree = campaign.tree
        self.plan = campaign.plan
        self.batches = tree.batches
        if self.batches.rises:
            raise RefusedError(
                f"The batch of {tree.plan.campaign} is {self.batches.words}, and the law counts iterations of one "
                "batch.",
                "forecast a campaign of one batch.",
            )
        main = tree.by_name.get(MAIN)
        if main is None or main.kind != "main":
            raise RefusedError(
                f"Campaign {tree.plan.campaign} has no main path: its paths are {tree.names}.",
                "forecast a campaign of paradigm lrps.",
            )
        self.main = main
        branches = [path for path in tree.paths if path.kind == "branch" and path.parent == MAIN]
        # The law compares the losses of a branch with main's on the same samples.
        self.branches = [path for path in branches if path.order == "chained"]
        self.apart = [path.name for path in branches if path.order != "chained"]
        self.series = {
            path.name: finite(read_scalars(campaign.folder.tensorboard(path.name), "lm loss"))
            for path in (main, *self.branches)
        }
        warm = self.batches.iteration(main.schedule.warmup)
        logged = [step for step, _ in self.series[MAIN] if step > warm]
        self.reached = max(logged, default=0)
        self.since = warm + int(LEFT_OUT * (self.reached - warm)) if logged else warm
        usable = sum(step > self.since for step in logged)
        if usable < LEAST:
            raise RefusedError(
                f"Main has logged {usable} iterations after iteration {self.since} (the warm-up and a tenth of the "
                f"rest are left out), and a fit needs {LEAST}.",
                "train it further: lrps run PLAN --path main.",
            )
        width = max(SHORTEST, usable // PIECES)
        pieces = {path.name: self._pieces(path, width) for path in (main, *self.branches)}
        self.pieces = {name: each for name, each in pieces.items() if each is not None}
        self.finished = [
            path for path in self.branches if path.name in self.pieces and dict(self.series[path.name]).get(path.end)
        ]

    @cached_property
    def _shares_of_main(self) -> Floats:
        ends = [path.end for path in (self.main, *self.branches)] + [window.end for window in self.tree.windows]
        return self._shares(self.main.schedule, 0, max(ends))

    def _shares(self, schedule: Schedule, start: int, end: int) -> Floats:
        limits = lr_range(self.plan)
        rates = [schedule.lr(self.batches.samples(iteration), **limits) for iteration in range(start, end)]
        return np.array(rates) / self.plan.lr.max

    def rates(self, schedule: Schedule, fork: int, end: int) -> Rates:
        """Return the learning rates of a curve that is main's up to the fork."""
        shares = np.concatenate((self._shares_of_main[:fork], self._shares(schedule, fork, end)))
        return Rates(shares, self.batches.iteration(self.main.schedule.warmup))

    def _pieces(self, path: PlannedPath, width: int) -> Pieces | None:
        points = [point for point in self.series[path.name] if point[0] > max(path.fork, self.since)]
        pieces = [points[at : at + width] for at in range(0, len(points) - width + 1, width)]
        if not pieces:
            return None
        rates = self.rates(path.schedule, path.fork, max(path.end, points[-1][0]))
        mains = dict(self.series[MAIN])
        both = [piece for piece in pieces if all(step in mains for step, _ in piece)]
        paired = path is not self.main and bool(both)
        pieces = both if paired else pieces
        return Pieces(
            name=path.name,
            rates=rates,
            edges=np.array([(piece[0][0], piece[-1][0]) for piece in pieces]),
            losses=np.array([np.mean([loss for _, loss in piece]) for piece in pieces]),
            mains=np.array([np.mean([mains[step] for step, _ in piece]) for piece in pieces]) if paired else None,
            main_rates=Rates(self._shares_of_main, rates.warm) if paired else None,
        )

    def last(self, iterations: int, length: int) -> int:
        """Return the number of iterations whose mean loss is the final loss."""
        return min(length, max(LAST, int(LAST_SHARE * iterations)))
