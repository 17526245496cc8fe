"""A campaign of two versions on four nodes, TP=2 x DP=2 over gloo, from one `lrps submit` to trained versions; a
version that is cut off main, with PP=2.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_lrps.campaign.record import events
from tests.slurm.cluster import Cluster
from tests.slurm.submitted import Submitted
from tests.training.campaigns import losses, write_campaign
from tests.training.harness import read_scalars

pytestmark = [pytest.mark.slurm, pytest.mark.training]

ROOT = Path(__file__).resolve().parents[2]
LONG = "iters: 80"
"""v1 forks off main at 40; v2, of six iterations, at 83. Long enough to be disturbed."""


@pytest.fixture(scope="module")
def expected(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, float]]:
    """Path -> iteration -> loss, as `lrps run` trains the same plan with the same layout."""
    folder = tmp_path_factory.mktemp("whole")
    whole = Submitted(cluster, write_campaign(folder, extra=", tensor-model-parallel-size: 2", processes=4))
    whole.change("iters: 8", LONG)
    done = whole.lrps("run")
    assert done.code == 0, done.stderr
    return {path: losses(whole.plan, path) for path in ("main", "v1", "v2")}


def trained(campaign: Submitted) -> dict[str, dict[int, float]]:
    """Every path's losses, once all is trained and nothing is left to submit."""
    assert {path["state"] for path in campaign.status().values()} == {"trained"}
    assert "there is nothing to do" in campaign.lrps("submit").stdout
    return {path: losses(campaign.plan, path) for path in ("main", "v1", "v2")}


@pytest.mark.timeout(1500)
def test_a_campaign_goes_on_whatever_happens_to_its_jobs(
    submitted: Submitted, expected: dict[str, dict[int, float]]
) -> None:
    cluster = submitted.cluster
    submitted.change("iters: 8", LONG)
    jobs = submitted.submit()
    first, second, v1, v2 = (jobs[key] for key in (("main", 40), ("main", 83), ("v1", 80), ("v2", 86)))

    # What --signal=B:USR1 does before the time limit: the ranks save and leave with 75.
    submitted.at("main", 4)
    cluster.run("scancel", "--batch", "--signal=USR1", first)
    cluster.until(lambda: submitted.restarts(first) == 1, "requeued after the signal")
    assert "asked to save and stop: the ranks get SIGUSR2" in submitted.log("main")
    # An operator's requeue: Slurm sends TERM, and the ranks save.
    submitted.started("main", 2)
    cluster.run("scontrol", "requeue", first)
    cluster.until(lambda: submitted.restarts(first) == 2, "requeued by the operator")
    # A partition of higher priority takes the nodes.
    submitted.started("main", 3)
    urgent = cluster.run(
        "sbatch", "--parsable", "--partition=urgent", "--nodes=4", "--exclusive", "--output=/dev/null", "--wrap=true"
    )
    submitted.ends(urgent, "COMPLETED")
    submitted.ends(first, "COMPLETED")
    assert submitted.restarts(first) == 3

    # main's second segment and the first branch run side by side now: a node is lost, a step is killed.
    submitted.started("main", 5)
    submitted.started("v1", 1)
    cluster.run("scontrol", "update", "nodename=node2", "state=down", "reason=test")
    cluster.until(lambda: submitted.restarts(second) == 1 and submitted.restarts(v1) == 1, "requeued without its node")
    cluster.run("scontrol", "update", "nodename=node2", "state=resume", check=False)  # its slurmd may have been faster
    submitted.started("v1", 2)
    cluster.run("scancel", "--signal=KILL", f"{v1}.1")  # step 0 is the health check
    cluster.until(lambda: submitted.restarts(v1) == 2, "requeued after its step was killed")
    for job in (second, v1, v2):
        submitted.ends(job, "COMPLETED")

    assert trained(submitted) == expected


FAILING = """\
import runpy, sys
from megatron_lrps.training.megatron import whole_validation
evaluate = whole_validation.evaluate_sets
def fails(args, call):
    if "on validation set" in call["prefix"] and args.rank == 1:
        raise TypeError("'NoneType' object cannot be interpreted as an integer")
    return evaluate(args, call)
whole_validation.evaluate_sets = fails
runpy.run_module("megatron_lrps.pretrain", run_name="__main__")
"""
"""Ranks of which one fails in the evaluation after the path's last save, as a middle stage once did."""


@pytest.mark.timeout(600)
def test_a_path_that_is_saved_to_its_end_has_succeeded_whatever_its_ranks_do_then(submitted: Submitted) -> None:
    folder = submitted.plan.parent
    (folder / "failing.py").write_text(FAILING)
    python = folder / "python"
    python.write_text(
        f'#!/bin/bash\n[[ $2 != megatron_lrps.pretrain ]] || set -- {folder}/failing.py "${{@:3}}"\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    submitted.site(f"LRPS_PYTHON={python}\nexport PYTHONPATH={ROOT}\n")
    submitted.change("nodes: 4, ", "nodes: 2, ")
    jobs = submitted.submit()
    for key in (("main", 4), ("main", 11), ("v2", 14), ("v1", 8)):  # v2 follows main's end by afterok
        submitted.ends(jobs[key], "COMPLETED")
        assert submitted.restarts(jobs[key]) == 0
    assert {path["state"] for path in submitted.status().values()} == {"trained"}
    assert "main is trained to iteration 11, and its checkpoint there whole" in submitted.log("main")
    assert "done, so what follows may start; afterwards rank 1: TypeError: 'NoneType'" in submitted.log("v2")
    assert submitted.log("main").count("so what follows may start") == 1  # a part leaves before that evaluation


@pytest.mark.timeout(1500)
def test_a_version_that_is_cut_off_a_running_main_path_joins(submitted: Submitted) -> None:
    submitted.change("iters: 8", "iters: 800")  # main's first fork point is at 400
    submitted.change("nodes: 4, ", "nodes: 2, ")
    submitted.change("tensor-model-parallel-size: 2", "pipeline-model-parallel-size: 2")
    jobs = submitted.submit("--path", "main")
    submitted.at("main", 5)
    done = subprocess.run(
        [sys.executable, "-m", "megatron_lrps.cli", "cut", "hotfix", str(submitted.plan), "--iters", "4"],
        env={**os.environ, **submitted.cluster.env}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # It saved the fork point and trains on. A rank is held, so that it does so until the branch has ended.
    os.kill(submitted.rank("main", 1), signal.SIGSTOP)
    assert submitted.cluster.state(jobs["main", 400]) == "RUNNING"
    (key,) = submitted.submit("--path", "hotfix").keys() - jobs.keys()
    assert key[0] == "hotfix"
    submitted.ends(submitted.jobs()[key], "COMPLETED")
    trained_there = submitted.status()["hotfix"]
    assert (trained_there["state"], trained_there["end"] - trained_there["fork"]) == ("trained", 4)
    assert submitted.jobs()["main", 400] == jobs["main", 400]


@pytest.mark.timeout(1500)
def test_nodes_that_train_on_while_slurm_takes_them_for_dead_are_waited_for(submitted: Submitted) -> None:
    cluster = submitted.cluster
    submitted.change("iters: 8", LONG)
    submitted.change("nodes: 4, ", "nodes: 2, ")
    job = submitted.submit("--path", "main")["main", 40]
    submitted.at("main", 3)
    # Rank 0 waits for this one, and its heart goes on: they train until the second start has seen it.
    held = submitted.rank("main", 1)
    os.kill(held, signal.SIGSTOP)
    used = cluster.run("squeue", "-h", "-j", job, "-o", "%N")
    nodes = cluster.run("scontrol", "show", "hostnames", used).split()
    assert len(nodes) == 2
    for name in nodes:
        cluster.end_daemon(name)
    cluster.run("scontrol", "update", f"nodename={used}", "state=down", "reason=its daemon does not answer")
    try:
        cluster.until(lambda: "is still written by process" in submitted.log("main"), "the new start waits")
        os.kill(held, signal.SIGCONT)
        submitted.ends(job, "COMPLETED")
    finally:
        for name in nodes:
            cluster.end(name)
            cluster.start_node(name)
    assert submitted.restarts(job) >= 1
    assert "requeued, until the earlier start of this job has ended" in submitted.log("main")
    # Every iteration was trained once, by the start that Slurm had lost.
    figures = read_scalars(submitted.folder.tensorboard("main"))["lm loss"]
    assert [iteration for iteration, _ in figures] == list(range(1, 41))
    assert [event["iteration"] for event in events(submitted.folder.path("main")) if event["event"] == "started"] == [0]
