"""Simulates a campaign on a cluster with failing nodes: finish time and waste by save interval. Pure.

The simulated jobs are those of `lrps submit`: a path that others fork off is a chain of legs, each to a fork point, and
a branch starts when the leg to its fork point is trained. A job waits in the queue, starts up, trains, and pauses while
it saves. A failed node returns it to its last save and to the queue; a time limit returns it only to the queue. Times
are in hours, positions in iterations.
"""

import math
import statistics
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.path_legs import Leg, legs_of
from megatron_lrps.plan.paths import Tree

MTBF_HOURS = 6300.0
"""Mean hours between failures of an 8-GPU node: 419 unexpected interruptions of 2,048 nodes in 54 days (Llama 3,
arXiv 2407.21783, table 5)."""
RESTART_HOURS = 10 / 60
"""Hours from a job's start to its first iteration: health checks, imports, connections, loading."""
_HOPELESS = math.log(10_000)
"""A cycle between saves that lasts this many mean times between failures succeeds once in ten thousand tries."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The cluster that jobs run on.

    Attributes:
        nodes: The number of nodes of a job. If one fails, the job ends.
        gpus: The number of GPUs of a job.
        iteration_hours: The time of one iteration.
        mtbf_hours: Mean time between failures of one node; times are exponentially distributed.
        queue_hours: Mean wait of a job that is submitted or requeued, exponentially distributed; 0 for none.
        save_hours: The pause in training for a save.
        limit_hours: The time after its start when a job must save and requeue; None for no time limit.
        restart_hours: The time from a job's start to its first iteration.
    """

    nodes: int
    gpus: int
    iteration_hours: float
    mtbf_hours: float = MTBF_HOURS
    queue_hours: float = 0.0
    save_hours: float = 1 / 60
    limit_hours: float | None = None
    restart_hours: float = RESTART_HOURS

    @property
    def job_mtbf_hours(self) -> float:
        """Mean time between failures of a whole job."""
        return self.mtbf_hours / self.nodes

    @property
    def young_hours(self) -> float:
        """Training hours between saves that waste least, to first order: sqrt(2 save MTBF) (Young 1974, Daly 2006)."""
        return math.sqrt(2 * self.save_hours * self.job_mtbf_hours)


class LegHours(NamedTuple):
    """The duration of one leg.

    Attributes:
        elapsed: Hours from the submission of its job to its end.
        held: The part of these hours in which the job held its nodes.
    """

    elapsed: float
    held: float


def run_leg(random: Random, cluster: Cluster, leg: Leg, interval: int) -> LegHours:
    """Simulate one leg, saved at multiples of ``interval`` iterations and at its end.

    Raises:
        RefusedError: the time limit is too short to train and save one iteration.
    """
    elapsed = held = 0.0
    position, rate = leg.start, 1 / cluster.job_mtbf_hours
    while True:
        if cluster.queue_hours:
            elapsed += random.expovariate(1 / cluster.queue_hours)
        failure = random.expovariate(rate)
        end = cluster.restart_hours + _to_end(cluster, position, leg.until, interval)
        told = cluster.limit_hours if cluster.limit_hours is not None else math.inf
        stop = min(end, told + cluster.save_hours)
        lasts = min(failure, stop)
        elapsed, held = elapsed + lasts, held + lasts
        if failure < stop:
            position = _positions(cluster, position, failure - cluster.restart_hours, interval)[0]
        elif end <= told + cluster.save_hours:
            return LegHours(elapsed, held)
        else:
            reached = _positions(cluster, position, told - cluster.restart_hours, interval)[1]
            if reached <= position:
                raise RefusedError(
                    f"A job is told to stop {told:.3g} h after its start, which is too short for its start-up "
                    f"({cluster.restart_hours:.3g} h) and an iteration ({cluster.iteration_hours:.3g} h).",
                    "raise launch.slurm.time.",
                )
            position = reached


def _to_end(cluster: Cluster, position: int, end: int, interval: int) -> float:
    """Return the hours from a position to the end of a leg, including all saves."""
    saves = (end - 1) // interval - position // interval + 1
    return (end - position) * cluster.iteration_hours + saves * cluster.save_hours


def _positions(cluster: Cluster, position: int, hours: float, interval: int) -> tuple[int, int]:
    """Return the (last saved, last trained) iteration after ``hours`` of training and saving."""
    step, cycle = cluster.iteration_hours, interval * cluster.iteration_hours + cluster.save_hours
    boundary = (position // interval + 1) * interval
    first = (boundary - position) * step + cluster.save_hours
    if hours < first:
        return position, position + min(boundary - position, max(0, int(hours / step)))
    whole = int((hours - first) / cycle)
    saved = boundary + whole * interval
    return saved, saved + min(interval, int((hours - first - whole * cycle) / step))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a save interval, over all seeds.

    Attributes:
        interval: Iterations between saves.
        finish_hours: (median, 90 %) from submission to the campaign's end; None if it hardly ever ends.
        wasted_gpu_hours: Mean GPU-hours of start-up, saves and lost training; None likewise.
        wasted_share: Their share of all GPU-hours that jobs held.
        ends_hours: Path -> (median, 90 %) hours until it is trained.
    """

    interval: int
    finish_hours: tuple[float, float] | None
    wasted_gpu_hours: float | None
    wasted_share: float | None
    ends_hours: dict[str, tuple[float, float]]


def simulate(tree: Tree, cluster: Cluster, interval: int, seeds: int) -> Outcome:
    """Simulate the campaign once for each seed in 0 .. seeds - 1; the same seeds give the same outcome.

    Raises:
        RefusedError: as ``run_leg``.
    """
    legs = legs_of(tree)
    cycle = min(interval, max(leg.until - leg.start for leg in legs)) * cluster.iteration_hours
    if (cycle + cluster.save_hours + cluster.restart_hours) / cluster.job_mtbf_hours > _HOPELESS:
        return Outcome(interval=interval, finish_hours=None, wasted_gpu_hours=None, wasted_share=None, ends_hours={})
    ends: dict[str, list[float]] = {path.name: [] for path in tree.paths}
    finishes, held = [], 0.0
    for seed in range(seeds):
        trained: dict[tuple[str, int], float] = {}
        for number, leg in enumerate(legs):
            begins = max((trained[before] for before in leg.before), default=0.0)
            if leg.path.mean:  # it is merged on one node, in a small part of the time that training takes
                trained[leg.key] = begins
                continue
            # One stream per leg: all intervals get the same random numbers, so that they can be compared.
            hours = run_leg(Random(f"{seed} {number}"), cluster, leg, interval)
            held += hours.held
            trained[leg.key] = begins + hours.elapsed
        for path in tree.paths:
            ends[path.name].append(trained[path.name, path.end])
        finishes.append(max(trained.values()))
    needed = sum(leg.until - leg.start for leg in legs) * cluster.iteration_hours
    return Outcome(
        interval=interval,
        finish_hours=_spread(finishes),
        wasted_gpu_hours=(held / seeds - needed) * cluster.gpus,
        wasted_share=1 - needed * seeds / held,
        ends_hours={path: _spread(hours) for path, hours in ends.items()},
    )


def _spread(hours: list[float]) -> tuple[float, float]:
    return statistics.median(hours), sorted(hours)[math.ceil(0.9 * len(hours)) - 1]


def intervals_around(tree: Tree, cluster: Cluster, own: int) -> list[int]:
    """Return the plan's save interval, and others from a quarter to four times Young's, in steps of sqrt(2)."""
    longest = max(leg.until - leg.start for leg in legs_of(tree))
    young = cluster.young_hours / cluster.iteration_hours
    found = {min(longest, max(1, round(young * 2 ** (step / 2)))) for step in range(-4, 5)}
    return sorted(found | {own})
