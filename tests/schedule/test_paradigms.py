"""The paradigms of the paper as arithmetic: N = 4 versions of T = 10,000 iterations, alpha = 0.6, 500 of warm-up."""

import pytest

from megatron_lrps.schedule import DecaySpec, Schedule
from megatron_lrps.schedule.paradigms import (
    MAIN,
    PARADIGMS,
    Branch,
    Curve,
    VersionError,
    VersionUpdate,
    branch_length,
    branch_schedule,
    lrps,
    main_schedule,
)

N, T, BATCH, WARM = 4, 10_000, 2, 500
VERSIONS = [VersionUpdate(name=f"v{i}", start=(i - 1) * T, end=i * T) for i in range(1, N + 1)]


def drawn(paradigm: str) -> list[Curve]:
    return [*PARADIGMS[paradigm](VERSIONS, warm=WARM, batch=BATCH)]


def rate(schedule: Schedule, iteration: int) -> float:
    return schedule.lr(iteration * BATCH, max_lr=1.0, min_lr=0.0)


def test_costs_of_the_paper() -> None:
    costs = {paradigm: sum(curve.end - curve.fork for curve in drawn(paradigm)) for paradigm in PARADIGMS}
    assert costs == {"lrps": 58_000, "ptfs": 100_000, "cpt": 40_000, "cpt-rewarm": 40_000}


def test_lrps_decays_off_main() -> None:
    main, *branches = drawn("lrps")
    assert (main.name, main.version, main.parent, main.fork, main.end) == (MAIN, None, None, 0, 34_000)
    for i, curve in enumerate(branches, 1):
        fork, end = i * T - 6_000, i * T
        assert (curve.name, curve.parent, curve.fork, curve.end) == (f"v{i}", MAIN, fork, end)
        assert curve.schedule.until(fork * BATCH) == main.schedule.until(fork * BATCH)
        assert [rate(curve.schedule, at) for at in (fork, end - 3_000, end)] == pytest.approx([1.0, 0.5, 0.0])


def test_ptfs_runs_the_whole_schedule_on_mixed_data() -> None:
    for i, curve in enumerate(drawn("ptfs"), 1):
        assert (curve.name, curve.parent, curve.fork, curve.end, curve.order) == (f"ptfs-v{i}", None, 0, i * T, "mixed")
        assert [rate(curve.schedule, at) for at in (0, WARM, (WARM + i * T) // 2, i * T)] == pytest.approx(
            [0, 1, 0.5, 0]
        )


@pytest.mark.parametrize(("paradigm", "rise"), [("cpt", 0), ("cpt-rewarm", WARM)])
def test_cpt_restarts_at_the_end_of_the_version_before(paradigm: str, rise: int) -> None:
    curves = drawn(paradigm)
    assert [curve.parent for curve in curves] == [None, *(f"{paradigm}-v{i}" for i in range(1, N))]
    for i, curve in enumerate(curves[1:], 1):
        assert (curve.fork, curve.end) == (i * T, (i + 1) * T)
        assert rate(curve.schedule, i * T) == (0.0 if rise else 1.0)
        assert rate(curve.schedule, i * T + rise) == 1.0
        assert rate(curve.schedule, i * T + (rise + T) // 2) == pytest.approx(0.5)


def test_a_cut_has_main_go_on() -> None:
    curves = [*lrps(VERSIONS, warm=0, batch=BATCH, cuts=[Branch(name="cut", fork=36_000, end=36_100)], begins=7)]
    assert (curves[0].fork, curves[0].end) == (7, 36_000)
    assert (curves[-1].name, curves[-1].version, curves[-1].end) == ("cut", "cut", 36_100)


def test_a_branch_is_main_and_then_a_decay() -> None:
    main = main_schedule(warm=10, batch=BATCH)
    branch = branch_schedule(main, Branch(name="b", fork=20, end=30, decay=DecaySpec(shape="linear")), batch=BATCH)
    assert branch.until(40) == main.until(40)
    assert [rate(branch, at) for at in (5, 10, 20, 25, 30)] == [0.5, 1.0, 1.0, 0.5, 0.0]


def test_alpha_t_is_whole_iterations() -> None:
    assert [branch_length(alpha, 10) for alpha in (0.14, 0.15, 0.16)] == [1, 2, 2]


@pytest.mark.parametrize("paradigm", ["lrps", "ptfs", "cpt"])
def test_a_version_that_cannot_be_drawn_is_named(paradigm: str) -> None:
    steps = DecaySpec(shape="multi-step")
    short = VersionUpdate(name="short", start=1, end=2, alpha=1.0, decay=steps)
    with pytest.raises(VersionError, match="gets none of them") as caught:
        [*PARADIGMS[paradigm]([VersionUpdate(name="v1", start=0, end=1), short], warm=0, batch=BATCH)]
    assert caught.value.version == "short"
