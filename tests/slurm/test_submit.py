"""`lrps submit`, `status` and `cancel` on a real cluster, without training: the ranks' Python is a stand-in."""

import re
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.submitted import Submitted
from tests.training.campaigns import write_campaign

pytestmark = pytest.mark.slurm


def python_that(folder: Path, *lines: str) -> str:
    """A site file whose ranks run these lines of shell instead of Python."""
    script = folder / "python"
    script.write_text("\n".join(["#!/bin/bash", *lines]))
    script.chmod(0o755)
    return f"LRPS_PYTHON={script}\n"


SAVES_AND_STOPS = ("trap 'exit 75' TERM", "sleep 600 &", "wait")
"""As the ranks answer Slurm's TERM: a cancelled job may not requeue itself for it."""


def test_jobs_follow_their_fork_points_and_a_second_submit_adds_nothing(submitted: Submitted, tmp_path: Path) -> None:
    submitted.site(python_that(tmp_path, *SAVES_AND_STOPS))
    dry = submitted.lrps("submit", "--dry-run")
    assert (dry.code, submitted.jobs()) == (0, {})
    assert [line for line in dry.stdout.splitlines() if line.startswith("# ") and "until" in line][:4] == [
        "# main until 4",
        "# main until 11, after main until 4",
        "# v1 until 8, after main until 4",
        "# v2 until 14, after main until 11",
    ]
    assert '--dependency=afterok:"$job1"' in dry.stdout
    assert "# | lrps_train" in dry.stdout

    jobs = submitted.submit()
    after = {
        key: submitted.cluster.run("squeue", "-h", "-j", job, "-o", "%E").split("(")[0] for key, job in jobs.items()
    }
    first, second = jobs["main", 4], jobs["main", 11]
    assert after["main", 11] == after["v1", 8] == f"afterok:{first}"
    assert after["v2", 14] == f"afterok:{second}"
    submitted.cluster.until(lambda: submitted.cluster.state(first) == "RUNNING", "main runs")
    status = submitted.status()
    assert [(job["id"], job["until"], job["state"]) for job in status["main"]["jobs"]] == [
        (first, 4, "RUNNING"),
        (second, 11, "PENDING"),
    ]
    assert status["v1"]["jobs"][0]["reason"] == "Dependency"

    assert "has a job already" in submitted.lrps("submit").stdout
    assert submitted.jobs() == jobs

    # A grown plan: main's last segment and the new branch join, and nothing else.
    submitted.change("tokenizer:", "  - {name: v3, iters: 4, train: [[1.0, data/v3]]}\ntokenizer:")
    for end in ("bin", "idx"):
        (tmp_path / "data" / f"v3.{end}").write_bytes((tmp_path / "data" / f"v2.{end}").read_bytes())
    grown = submitted.submit()
    assert set(grown) - set(jobs) == {("main", 16), ("v3", 18)}
    assert submitted.cluster.run("squeue", "-h", "-j", grown["main", 16], "-o", "%E").startswith(f"afterok:{second}")

    # One path's jobs, and those that follow it; the next submit, at once, adds them again.
    cancelled = submitted.lrps("cancel", "--path", "main").stdout
    assert f"{first} (main until 4)" in cancelled
    assert f"follow them: {jobs['v1', 8]} (v1 until 8), {jobs['v2', 14]} (v2 until 14), {grown['v3', 18]}" in cancelled
    again = submitted.submit()
    assert set(again) == set(grown)
    assert not set(again.values()) & set(grown.values())

    # A job that ends badly, and a submit before Slurm has ended what waits for it: that is replaced.
    submitted.cluster.run("scancel", again["main", 4])
    submitted.ends(again["main", 4], "CANCELLED")
    renewed = submitted.submit()
    assert not set(renewed.values()) & set(again.values())
    for job in again.values():
        submitted.ends(job, "CANCELLED")
    assert "has a job already" in submitted.lrps("submit").stdout
    assert submitted.lrps("cancel").code == 0
    assert submitted.lrps("cancel").stdout == "There is no job that waits or runs.\n"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("partition: main", "partition: h100", "invalid partition specified: h100"),
        ("global_batch_size: 4", "global_batch_size: 6", "6 is not a multiple of micro-batch-size 2 x 2 data-parallel"),
        ("nodes: 4", "nodes: 3", "tensor-model-parallel-size 2, but there are 3 ranks, which is not a multiple of 2"),
        ("nodes: 4", "mem: 900G, nodes: 4", "Requested node configuration is not available"),
        ("nodes: 4", "constraint: nvlink, nodes: 4", "Invalid feature specification"),
        ("nodes: 4", "options: {colour: red}, nodes: 4", "unrecognized option '--colour=red'"),
        ("nodes: 4", "container: /nowhere/a.sqsh, nodes: 4", "container: /nowhere/a.sqsh does not exist"),
        ("nodes: 4", "container: a.sif, nodes: 4", "a.sif is a relative path, but jobs start in another folder"),
        ("nodes: 4", 'container: "nvcr.io#nvidia/pytorch", nodes: 4', "srun of this cluster has no option"),
    ],
)
def test_what_slurm_refuses_is_said_in_its_words(submitted: Submitted, before: str, after: str, said: str) -> None:
    submitted.change(before, after)
    done = submitted.lrps("submit")
    assert (done.code, done.stdout) == (78, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert submitted.jobs() == {}
    assert submitted.cluster.run("squeue", "-h", "-n", "lrps-tiny-main-4") == ""


def test_more_nodes_than_there_are_are_not_waited_for(submitted: Submitted) -> None:
    submitted.change("nodes: 4", "nodes: 8")
    submitted.change("global_batch_size: 4", "global_batch_size: 8")
    done = submitted.lrps("submit")
    assert (done.code, submitted.jobs()) == (78, {})
    assert "Requested node configuration is not available; nodes is 8, and main has 4 nodes" in done.stderr


def test_what_this_machines_megatron_refuses_is_not_queued(submitted: Submitted, tmp_path: Path) -> None:
    submitted.site(python_that(tmp_path, *SAVES_AND_STOPS))
    submitted.change("num-layers: 2,", "num-layers: 2, fp4-param-gather: true,")
    done = submitted.lrps("submit", check=True)
    assert (done.code, submitted.jobs()) == (78, {})
    assert "--fp4-param-gather must be used together with --fp4-format" in done.stderr
    assert "--no-check submits all the same" in done.stderr
    assert ("main", 4) in submitted.submit()  # the jobs' Megatron may be another
    assert submitted.lrps("cancel").code == 0
    submitted.change("fp4-param-gather: true,", "")
    assert submitted.lrps("submit", check=True).code == 0


def test_nodes_that_are_away_for_now_are_waited_for(submitted: Submitted, tmp_path: Path) -> None:
    submitted.site(python_that(tmp_path, *SAVES_AND_STOPS))
    submitted.cluster.run("scontrol", "update", "nodename=node2", "state=drain", "reason=test")
    done = submitted.lrps("submit")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("Slurm cannot place the jobs now, because 1 of 4 nodes are not up; the jobs wait.\n")
    submitted.cluster.run("scontrol", "update", "nodename=node2", "state=resume")
    first = submitted.jobs()["main", 4]
    submitted.cluster.until(lambda: submitted.cluster.state(first) == "RUNNING", "main runs on all four")


def test_a_refusal_in_the_middle_takes_back_what_was_accepted(submitted: Submitted) -> None:
    # The second job's dependency is made unreadable on its way to Slurm, which has accepted the first by then.
    sbatch = submitted.plan.parent / "sbatch"
    sbatch.write_text(
        '#!/bin/bash\n[[ "$*" != *--dependency* ]] || set -- "${@/--dependency=*/--dependency=nonsense}"\n'
        'exec /usr/bin/sbatch "$@"\n'
    )
    sbatch.chmod(0o755)
    path = submitted.cluster.env["PATH"]
    done = submitted.lrps("submit", env={"PATH": f"{sbatch.parent}:{path}"})
    assert done.code == 78
    assert "Job dependency problem" in done.stderr
    assert "had accepted 1 of the jobs; they are cancelled, and nothing is submitted" in done.stdout
    submitted.ends(submitted.jobs()["main", 4], "CANCELLED")


def test_a_full_queue_takes_back_what_was_accepted(tmp_path: Path) -> None:
    """Slurm has room for two jobs of four; sbatch waits for more room, and lrps for sbatch a minute."""
    (tmp_path / "campaign").mkdir()
    with Cluster(tmp_path / "cluster", nodes=1, settings="MaxJobCount=2") as cluster:
        campaign = Submitted(cluster, write_campaign(tmp_path / "campaign"))
        campaign.change("launch: {", "launch: {slurm: {gpus_per_node: 1}, ")
        done = campaign.lrps("submit")
        assert done.code == 78
        assert "Slurm temporarily unable to accept job, sleeping and retrying" in done.stderr
        # Slurm counts the one that only asked whether it could start.
        assert re.search("had accepted [12] of the jobs; they are cancelled, and nothing is submitted", done.stdout)
        for job in campaign.jobs().values():
            campaign.ends(job, "CANCELLED")


def test_a_submit_that_was_killed_before_its_release_is_finished_by_the_next(
    submitted: Submitted, tmp_path: Path
) -> None:
    submitted.site(python_that(tmp_path, *SAVES_AND_STOPS))
    jobs = submitted.submit()
    record = submitted.folder.root / "slurm" / "jobs.jsonl"
    record.write_text("".join(line for line in record.read_text().splitlines(True) if "released" not in line))
    last = jobs["v2", 14]
    submitted.cluster.run("scontrol", "hold", last)
    assert submitted.cluster.run("squeue", "-h", "-j", last, "-o", "%r").startswith("JobHeld")
    assert submitted.submit() == jobs
    submitted.cluster.until(
        lambda: submitted.cluster.run("squeue", "-h", "-j", last, "-o", "%r") == "Dependency", "it is released"
    )
    submitted.cluster.run("scontrol", "hold", last)  # by a user, after its release: it stays so
    assert submitted.submit() == jobs
    assert submitted.cluster.run("squeue", "-h", "-j", last, "-o", "%r").startswith("JobHeld")

    # Killed before it had recorded the last one, which Slurm holds: unlike another campaign's, that is submitted anew.
    record.write_text("".join(line for line in record.read_text().splitlines(True) if f'"{last}"' not in line))
    other = submitted.cluster.run(
        "sbatch", "--parsable", "--hold", "--job-name=lrps-tiny-v2-14", "--output=/dev/null", "--wrap=true"
    )
    again = submitted.submit()
    assert again == {**jobs, ("v2", 14): again["v2", 14]}
    assert again["v2", 14] not in (last, other)
    submitted.ends(last, "CANCELLED")
    assert submitted.cluster.state(other) == "PENDING"
    submitted.cluster.run("scancel", other)


def test_a_signal_before_the_ranks_listen_to_it_requeues(submitted: Submitted, tmp_path: Path) -> None:
    submitted.site(python_that(tmp_path, "exec sleep 600"))
    job = submitted.submit()["main", 4]
    submitted.cluster.until(lambda: "train main on node[1-4], 4 tasks" in submitted.log("main"), "it has started")
    submitted.cluster.until(lambda: submitted.cluster.run("squeue", "-h", "-s", "-j", job), "its step runs")
    submitted.cluster.run("scancel", "--batch", "--signal=USR1", job)
    submitted.cluster.until(lambda: submitted.restarts(job) == 1, "it is requeued")
    assert "requeued, 1 of 3 since checkpoint none" in submitted.log("main")


def test_the_time_limit_asks_the_ranks_to_stop_and_requeues(submitted: Submitted, tmp_path: Path) -> None:
    submitted.site(python_that(tmp_path, "trap 'exit 75' USR2", "sleep 600 &", "wait"))
    submitted.change('time: "00:30:00"', 'time: "00:02:00", signal_before: 60')  # Slurm looks every half minute
    job = submitted.submit()["main", 4]
    submitted.cluster.until(lambda: submitted.restarts(job) == 1, "requeued before the limit")
    assert "asked to save and stop: the ranks get SIGUSR2" in submitted.log("main")


def test_ranks_that_are_to_be_continued_without_progress_are_requeued_three_times(
    submitted: Submitted, tmp_path: Path
) -> None:
    submitted.site(python_that(tmp_path, "exit 75"))
    jobs = submitted.submit()
    submitted.ends(jobs["main", 4], "FAILED")
    assert submitted.restarts(jobs["main", 4]) == 3
    assert "requeued 3 times since checkpoint none without a new one: not again" in submitted.log("main")
    for key in (("main", 11), ("v1", 8), ("v2", 14)):
        submitted.ends(jobs[key], "CANCELLED")


def test_a_refusal_is_passed_on_and_ends_what_follows(submitted: Submitted, tmp_path: Path) -> None:
    # Rank 0 records a refusal, and another rank is killed for it: srun itself would say 137.
    events = submitted.folder.path("main").events
    submitted.site(
        python_that(
            tmp_path,
            f"""[[ $RANK != 0 ]] || {{ echo '{{"event": "refused", "exit_code": 78}}' >>{events}; exit 78; }}""",
            "kill -9 $$",
        )
    )
    jobs = submitted.submit()
    submitted.ends(jobs["main", 4], "FAILED")
    assert "ExitCode=78:0" in submitted.cluster.run("scontrol", "show", "job", jobs["main", 4])
    submitted.ends(jobs["v2", 14], "CANCELLED")
