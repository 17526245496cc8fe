"""The simulated campaign against sums by hand and against the formulas of Young and Daly."""

import math
from random import Random

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.cluster_simulation import Cluster, intervals_around, run_leg, simulate
from megatron_lrps.plan.path_legs import Leg
from tests.plan.plans import tree_of, versions

NEVER = 1e12
"""Hours between failures of a node that does not fail."""


def cluster(**keys: float | None) -> Cluster:
    """One node of one GPU, an hour an iteration, half an hour a save, a quarter of an hour to start."""
    base = {"iteration_hours": 1.0, "save_hours": 0.5, "restart_hours": 0.25, "mtbf_hours": NEVER}
    return Cluster(nodes=1, gpus=1, **(base | keys))  # type: ignore[arg-type]


def leg(start: int, until: int) -> Leg:
    return Leg(path=MAIN_ALONE.path("main"), start=start, until=until)


@pytest.mark.parametrize(
    ("start", "end", "interval", "hours"),
    [
        (0, 10, 100, 0.25 + 10 + 0.5),  # saved at its end alone
        (0, 10, 5, 0.25 + 10 + 2 * 0.5),  # at 5 and 10, not twice at 10
        (0, 10, 4, 0.25 + 10 + 3 * 0.5),  # at 4, 8 and 10
        (6, 10, 4, 0.25 + 4 + 2 * 0.5),  # at 8 and 10
        (8, 12, 4, 0.25 + 4 + 0.5),  # the start is saved already
    ],
)
def test_without_failures_a_job_takes_its_iterations_and_saves(
    start: int, end: int, interval: int, hours: float
) -> None:
    job = run_leg(Random(1), cluster(), leg(start, end), interval)
    assert job == (pytest.approx(hours), pytest.approx(hours))


def test_a_time_limit_costs_a_save_and_a_start_and_no_training() -> None:
    # Told after 4 hours: 0.25 to start, 3 iterations (0.75 of the next is lost), then the save. 3 jobs train 9 of 10.
    job = run_leg(Random(1), cluster(limit_hours=4.0), leg(0, 10), 100)
    assert job.held == pytest.approx(3 * (4.0 + 0.5) + 0.25 + 1 + 0.5)


def test_a_limit_that_lets_nothing_be_trained_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"raise launch\.slurm\.time"):
        run_leg(Random(1), cluster(limit_hours=1.0), leg(0, 10), 100)


def test_a_failure_throws_back_to_the_last_save() -> None:
    class Fails:
        """Once after 8 hours, then never."""

        times = iter((8.0, NEVER))

        def expovariate(self, rate: float) -> float:
            return next(self.times)

    # 0.25 to start, 4 iterations + save = 4.75, 3.25 more hours are lost; then 0.25 and (4, 10] with saves at 8 and 10.
    job = run_leg(Fails(), cluster(), leg(0, 10), 4)  # type: ignore[arg-type]
    assert job.held == pytest.approx(8.0 + 0.25 + 6 + 2 * 0.5)


def test_a_wait_in_the_queue_holds_no_nodes() -> None:
    jobs = [run_leg(Random(seed), cluster(queue_hours=3.0), leg(0, 10), 100) for seed in range(4000)]
    assert {round(job.held, 9) for job in jobs} == {10.75}
    assert sum(job.elapsed - job.held for job in jobs) / 4000 == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("mtbf", [10.0, 40.0])
def test_the_mean_of_a_job_is_dalys_formula(mtbf: float) -> None:
    # With failures at any time, starting and saving included (Daly 2006, equation 13): each of N cycles takes
    # M e^(R/M) (e^(c/M) - 1), and the first start M (e^(R/M) - 1).
    fails = cluster(mtbf_hours=mtbf)
    cycles, cycle, start = 25, 4 * 1.0 + 0.5, 0.25
    expected = mtbf * math.expm1(start / mtbf) + cycles * mtbf * math.exp(start / mtbf) * math.expm1(cycle / mtbf)
    jobs = [run_leg(Random(seed), fails, leg(0, 4 * cycles), 4) for seed in range(3000)]
    assert sum(job.elapsed for job in jobs) / 3000 == pytest.approx(expected, rel=0.01)


MAIN_ALONE = tree_of(paths=[{"name": "main", "end": 2000, "schedule": [{"kind": "hold"}]}], paradigm=None)
# 100 nodes fail every 20 hours; a save of 90 s and an iteration of 36 s: Young's interval is an hour, 100 iterations.
FAILING = Cluster(nodes=100, gpus=800, iteration_hours=0.01, save_hours=0.025, mtbf_hours=2000.0, restart_hours=0.0)


def test_the_best_interval_is_youngs() -> None:
    assert FAILING.young_hours == pytest.approx(1.0)
    intervals = intervals_around(MAIN_ALONE, FAILING, 100)
    assert intervals == [25, 35, 50, 71, 100, 141, 200, 283, 400]
    wasted = {i: simulate(MAIN_ALONE, FAILING, i, 500).wasted_gpu_hours or 0 for i in intervals}
    best = min(wasted, key=lambda interval: wasted[interval])
    assert best in (71, 100, 141)
    # To first order a save costs S every tau, and a failure loses tau / 2 every M: 20 h of training, 800 GPUs.
    for interval, found in wasted.items():
        tau = interval * 0.01
        assert found == pytest.approx(20 * 800 * (0.025 / tau + tau / (2 * 20)), rel=0.15), interval


def test_the_waste_is_a_share_of_what_is_held() -> None:
    found = simulate(MAIN_ALONE, cluster(), 1000, 3)
    # 2000 iterations and two saves, after the start
    assert found.wasted_gpu_hours == pytest.approx(0.25 + 2 * 0.5)
    assert found.wasted_share == pytest.approx(1.25 / 2001.25)
    assert found.finish_hours == (pytest.approx(2001.25), pytest.approx(2001.25))


def test_branches_train_beside_main() -> None:
    tree = tree_of(versions=versions(10, 10), decay={"shape": "cosine", "alpha": 0.5})
    found = simulate(tree, cluster(save_hours=0.0, restart_hours=0.0), 100, 1)
    assert {path: ends[0] for path, ends in found.ends_hours.items()} == {"main": 15.0, "v1": 10.0, "v2": 20.0}
    assert found.finish_hours == (20.0, 20.0)


def test_the_same_seeds_give_the_same_simulate() -> None:
    assert simulate(MAIN_ALONE, FAILING, 100, 20) == simulate(MAIN_ALONE, FAILING, 100, 20)
    assert simulate(MAIN_ALONE, FAILING, 100, 20) != simulate(MAIN_ALONE, FAILING, 100, 21)


def test_ninety_percent_finish_later_than_half() -> None:
    median, late = simulate(MAIN_ALONE, FAILING, 100, 200).finish_hours or (0, 0)
    assert 20 < median < late


def test_a_campaign_that_would_never_end_is_not_played() -> None:
    # 2000 nodes of 24 h fail every 43 s, and a save is due every 36 s after ten minutes of starting.
    found = simulate(MAIN_ALONE, Cluster(nodes=2000, gpus=1, iteration_hours=0.01, mtbf_hours=24.0), 1, 10)
    assert found.finish_hours is None
    assert found.wasted_gpu_hours is None
