"""Which legs of a campaign still need a job."""

from dataclasses import replace

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.slurm.job_history import Job
from megatron_lrps.launch.slurm.slurm_commands import JobState
from megatron_lrps.launch.slurm.wanted_jobs import wanted_jobs
from tests.plan.plans import tree_of

LRPS = tree_of()
"""main (0, 1400], forks at 400 and 1400; v1 (400, 1000], v2 (1400, 2000]."""
SCRATCH = {"main": 0, "v1": 400, "v2": 1400}


def job(number: int, path: str, until: int, state: str = "PENDING") -> dict[tuple[str, int], tuple[Job, JobState]]:
    name = f"lrps-c-{path}-{until}"
    made = Job(id=str(number), name=name, path=path, until=until, released=True)
    return {made.key: (made, JobState(state=state, reason="", name=name))}


def test_what_is_trained_or_has_a_job_gets_none() -> None:
    saved = {"main": 700, "v1": 400, "v2": 1400}
    wanted = wanted_jobs(LRPS, saved, job(7, "main", 1400, "RUNNING"), None)
    assert [(each.leg.key, each.after) for each in wanted] == [
        (("v1", 1000), ()),  # its fork point is there
        (("v2", 2000), (job(7, "main", 1400)["main", 1400][0],)),
    ]
    assert wanted_jobs(LRPS, {"main": 1400, "v1": 1000, "v2": 2000}, {}, None) == []


def test_a_job_that_waits_in_vain_is_replaced_and_so_is_what_follows_it() -> None:
    jobs = {**job(1, "main", 1400), **job(2, "v1", 1000), **job(3, "v2", 2000)}
    jobs = {key: (each, replace(state, in_vain=True)) for key, (each, state) in jobs.items()}
    wanted = wanted_jobs(LRPS, SCRATCH, jobs, None)
    assert [(each.leg.key, each.after, each.replaces and each.replaces.id) for each in wanted] == [
        (("main", 400), (), None),
        (("main", 1400), (("main", 400),), "1"),
        (("v1", 1000), (("main", 400),), "2"),
        (("v2", 2000), (("main", 1400),), "3"),
    ]
    with pytest.raises(RefusedError, match=r"path v2: it follows main at 1400, which is not trained and has no job"):
        wanted_jobs(LRPS, SCRATCH, jobs, "v2")


def test_a_job_that_waits_while_its_fork_point_is_trained_anew_is_replaced_and_one_that_runs_is_not() -> None:
    for state, keys in (("PENDING", ["main", "main", "v1", "v2"]), ("RUNNING", ["main", "main", "v2"])):
        wanted = wanted_jobs(LRPS, SCRATCH, job(2, "v1", 1000, state), None)
        assert [each.leg.key[0] for each in wanted] == keys
        assert [each.replaces.id for each in wanted if each.replaces] == ["2"] * keys.count("v1")


def test_one_path_alone_needs_its_fork_point_or_a_job_for_it() -> None:
    with pytest.raises(RefusedError, match=r"path v1: it follows main at 400, which is not trained and has no job"):
        wanted_jobs(LRPS, SCRATCH, {}, "v1")
    (v1,) = wanted_jobs(LRPS, SCRATCH, job(5, "main", 400), "v1")
    [after] = v1.after
    assert isinstance(after, Job)
    assert after.id == "5"


def test_a_job_that_waits_covers_a_new_fork_point_before_its_end_and_one_that_runs_does_not() -> None:
    cut = tree_of(cuts=[{"name": "hotfix", "fork": 700, "iters": 50}])
    saved = {"main": 400, "v1": 1000, "v2": 1400, "hotfix": 700}
    wanted = wanted_jobs(cut, saved, job(8, "main", 1400), "hotfix")
    with pytest.raises(RefusedError, match="main at 700"):  # it is main's job that has to be looked at first
        wanted_jobs(cut, saved, {}, "hotfix")
    assert [(each.leg.key, [getattr(job, "id", None) for job in each.after]) for each in wanted] == [
        (("hotfix", 750), ["8"])
    ]
    with pytest.raises(RefusedError, match="job 8 trains it until 1400 by an older plan, but the plan now wants 700"):
        wanted_jobs(cut, saved, job(8, "main", 1400, "RUNNING"), None)


def test_a_job_of_an_older_plan_stands_in_the_way() -> None:
    with pytest.raises(RefusedError, match=r"path v2: job 9 trains it until 1900 by an older plan") as refused:
        wanted_jobs(LRPS, {"main": 1400, "v1": 1000, "v2": 1500}, job(9, "v2", 1900), None)
    assert "lrps cancel PLAN --path v2" in refused.value.fix


def test_a_merge_waits_for_main_at_its_end_alone() -> None:
    tree = tree_of(merge={"window": 0.5, "checkpoints": 5})
    wanted = wanted_jobs(tree, {"main": 700, "v1": 600, "v2": 1200}, {}, None)
    assert [(each.leg.key, each.after) for each in wanted] == [
        (("main", 1000), ()),
        (("main", 2000), (("main", 1000),)),
        (("v1", 1000), (("main", 1000),)),
        (("v2", 2000), (("main", 2000),)),
    ]
    wanted = wanted_jobs(tree, {"main": 1000, "v1": 600, "v2": 1200}, {}, "v1")
    assert [(each.leg.key, each.after) for each in wanted] == [(("v1", 1000), ())]


def test_a_soup_waits_for_all_its_branches() -> None:
    tree = tree_of(branch={"soup": 2})
    wanted = wanted_jobs(
        tree, {"main": 1400, "v1-1": 1000, "v1-2": 400, "v1": 400, "v2-1": 1400, "v2-2": 1400, "v2": 1400}, {}, None
    )
    assert [(each.leg.key, each.after) for each in wanted] == [
        (("v1-2", 1000), ()),
        (("v1", 1000), (("v1-2", 1000),)),
        (("v2-1", 2000), ()),
        (("v2-2", 2000), ()),
        (("v2", 2000), (("v2-1", 2000), ("v2-2", 2000))),
    ]
