"""The paradigms of the paper as arithmetic: N = 4 versions of T = 10,000 iterations, alpha = 0.6, 500 of warm-up."""

from dataclasses import replace

import pytest

from megatron_lrps.schedule import Batches, DecaySpec, Schedule
from megatron_lrps.schedule.merge import MergeSpec
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
BATCHES = Batches.of(BATCH)
VERSIONS = [VersionUpdate(name=f"v{i}", start=(i - 1) * T, end=i * T) for i in range(1, N + 1)]


def drawn(paradigm: str) -> list[Curve]:
    return [*PARADIGMS[paradigm](VERSIONS, warm=WARM, batches=BATCHES)]


def rate(schedule: Schedule, iteration: int) -> float:
    return schedule.lr(iteration * BATCH, max_lr=1.0, min_lr=0.0)


def test_costs_of_the_paper() -> None:
    costs = {paradigm: sum(curve.iterations for curve in drawn(paradigm)) for paradigm in PARADIGMS}
    assert costs == {
        "lrps": 58_000,
        "ptfs": 100_000,
        "ptfs-merged": 100_000,
        "cpt": 40_000,
        "cpt-rewarm": 40_000,
    }


def test_merged_versions_cost_what_the_floor_is_and_main_trains_to_the_last_ones_end() -> None:
    merged = [replace(version, merge=MergeSpec(window=0.1, checkpoints=5)) for version in VERSIONS]
    main, *versions = lrps(merged, warm=WARM, batches=BATCHES)
    assert main.end == sum(curve.iterations for curve in (main, *versions)) == 40_000
    assert [(curve.name, curve.parent, curve.fork, curve.end) for curve in versions] == [
        ("v1", MAIN, 9_200, 10_000),
        ("v2", MAIN, 18_400, 20_000),
        ("v3", MAIN, 27_600, 30_000),
        ("v4", MAIN, 36_800, 40_000),
    ]
    assert versions[0].mean == tuple((MAIN, at, 0.2) for at in (9_200, 9_400, 9_600, 9_800, 10_000))


def test_branches_and_merges_can_be_mixed_and_keep_their_order() -> None:
    mixed = [VERSIONS[0], replace(VERSIONS[1], merge=MergeSpec()), VERSIONS[2]]
    main, *versions = lrps(mixed, warm=WARM, batches=BATCHES)
    assert main.end == 24_000  # the last branch's fork, after the merge's end at 20,000
    assert [(curve.name, curve.iterations) for curve in versions] == [("v1", 6_000), ("v2", 0), ("v3", 6_000)]


def test_a_soup_is_the_mean_of_its_branches_ends() -> None:
    _, one, two, soup, after = lrps([replace(VERSIONS[0], soup=2), VERSIONS[1]], warm=WARM, batches=BATCHES)
    assert [(curve.name, curve.version, curve.fork, curve.end, curve.strand) for curve in (one, two)] == [
        ("v1-1", None, 4_000, 10_000, 1),
        ("v1-2", None, 4_000, 10_000, 2),
    ]
    assert (soup.name, soup.version, soup.iterations) == ("v1", "v1", 0)
    assert soup.mean == (("v1-1", 10_000, 0.5), ("v1-2", 10_000, 0.5))
    assert (after.name, after.iterations) == ("v2", 6_000)


def test_ptfs_merged_trains_at_the_maximal_rate_and_merges_its_own_checkpoints() -> None:
    curves = drawn("ptfs-merged")
    held, merged = curves[2:4]
    assert (held.name, held.version, held.fork, held.end, held.order) == ("ptfs-held-v2", None, 0, 20_000, "mixed")
    assert rate(held.schedule, 20_000) == 1
    assert (merged.name, merged.version, merged.parent) == ("ptfs-merged-v2", "v2", "ptfs-held-v2")
    assert [part.iteration for part in merged.mean] == [*range(16_400, 20_001, 400)]  # a fifth of 20,000, in ten


def test_a_window_shorter_than_its_checkpoints_is_impossible() -> None:
    with pytest.raises(VersionError, match=r"window 0.0005 of 10000 iterations is 5 iterations, and 10 checkpoints"):
        [*lrps([replace(VERSIONS[0], merge=MergeSpec(window=0.0005))], warm=WARM, batches=BATCHES)]


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
    curves = [*lrps(VERSIONS, warm=0, batches=BATCHES, cuts=[Branch(name="cut", fork=36_000, end=36_100)], begins=7)]
    assert (curves[0].fork, curves[0].end) == (7, 36_000)
    assert (curves[-1].name, curves[-1].version, curves[-1].end) == ("cut", "cut", 36_100)


def test_a_branch_is_main_and_then_a_decay() -> None:
    main = main_schedule(warm=10, batches=BATCHES)
    branch = branch_schedule(main, Branch(name="b", fork=20, end=30, decay=DecaySpec(shape="linear")), batches=BATCHES)
    assert branch.until(40) == main.until(40)
    assert [rate(branch, at) for at in (5, 10, 20, 25, 30)] == [0.5, 1.0, 1.0, 0.5, 0.0]


def test_alpha_t_is_whole_iterations() -> None:
    assert [branch_length(alpha, 10) for alpha in (0.14, 0.15, 0.16)] == [1, 2, 2]


@pytest.mark.parametrize("paradigm", ["lrps", "ptfs", "cpt"])
def test_a_version_that_cannot_be_drawn_is_named(paradigm: str) -> None:
    steps = DecaySpec(shape="multi-step")
    short = VersionUpdate(name="short", start=1, end=2, alpha=1.0, decay=steps)
    with pytest.raises(VersionError, match="gets none of them") as caught:
        [*PARADIGMS[paradigm]([VersionUpdate(name="v1", start=0, end=1), short], warm=0, batches=BATCHES)]
    assert caught.value.version == "short"
