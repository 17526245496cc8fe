"""Nodes that are not fit to train are left out, on a real cluster; the ranks' Python is a stand-in."""

from pathlib import Path

import pytest

from tests.slurm.submitted import Submitted
from tests.slurm.test_submit import SAVES_AND_STOPS, python_that

pytestmark = pytest.mark.slurm


def test_a_node_that_fails_its_health_check_is_left_out(submitted: Submitted, tmp_path: Path) -> None:
    check = "LRPS_HEALTH_CHECK='echo reading && echo the fabric is down >&2 && [[ $SLURMD_NODENAME != node2 ]]'\n"
    submitted.site(python_that(tmp_path, *SAVES_AND_STOPS) + check)
    submitted.change("nodes: 4, ", "nodes: 2, options: {exclude: node4}, ")
    job = submitted.submit()["main", 4]
    submitted.cluster.until(lambda: submitted.restarts(job) == 1, "requeued without the node")
    submitted.cluster.until(lambda: "train main on node[1,3], 2 tasks" in submitted.log("main"), "it trains on others")
    assert "unfit node: node2 LRPS_HEALTH_CHECK failed: the fabric is down" in submitted.log("main")
    assert submitted.cluster.run("squeue", "-h", "-j", job, "-o", "%x") == "node[2,4]"


def test_what_is_wrong_everywhere_is_no_nodes_fault(submitted: Submitted, tmp_path: Path) -> None:
    submitted.site(python_that(tmp_path, *SAVES_AND_STOPS) + "LRPS_HEALTH_CHECK='nvidia-smi --no-such-flag'\n")
    job = submitted.submit()["main", 4]
    submitted.ends(job, "FAILED")
    assert "ExitCode=78:0" in submitted.cluster.run("scontrol", "show", "job", job)
    assert "no node of this job is fit: node1,node2,node3,node4" in submitted.log("main")
    submitted.ends(submitted.jobs()["v2", 14], "CANCELLED")
