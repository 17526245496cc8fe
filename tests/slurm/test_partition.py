"""The network between the ranks of a job is cut on a real cluster: the job goes on without the node that is lost."""

import pytest

from megatron_lrps.campaign.record import events
from tests.slurm.submitted import Submitted

pytestmark = pytest.mark.slurm


def training_on(submitted: Submitted) -> tuple[str, list[str]]:
    """A job on two nodes that has trained main past its first save, and its nodes; its script runs on the first one."""
    submitted.change("iters: 8", "iters: 60")
    submitted.change("save-interval: 100", "save-interval: 4")
    submitted.change("nodes: 4, gpus_per_node: 1", "nodes: 2, gpus_per_node: 2")
    jobs = submitted.submit("--path", "main")
    job = jobs["main", min(end for path, end in jobs if path == "main")]
    submitted.at("main", 6)
    used = submitted.cluster.run("squeue", "-h", "-j", job, "-o", "%N")
    return job, submitted.cluster.run("scontrol", "show", "hostnames", used).split()


def assert_it_went_on_from_a_save(submitted: Submitted, job: str) -> None:
    assert submitted.restarts(job) == 1
    _, again = [event for event in events(submitted.folder.path("main")) if event["event"] == "started"]
    assert again["iteration"] >= 4
    assert again["iteration"] % 4 == 0


def test_a_node_that_the_network_has_lost_costs_what_was_not_saved(submitted: Submitted) -> None:
    cluster = submitted.cluster
    job, (*_, lost) = training_on(submitted)
    cluster.cut(lost)
    try:
        submitted.started("main", 2)
        submitted.ends(job, "COMPLETED")
    finally:
        cluster.join(lost)
    assert_it_went_on_from_a_save(submitted, job)


def test_a_node_that_dies_with_the_jobs_script_on_it_costs_what_was_not_saved(submitted: Submitted) -> None:
    cluster = submitted.cluster
    job, (dead, *_) = training_on(submitted)
    cluster.cut(dead)  # as without power: its peers are told nothing
    cluster.end(dead)
    try:
        submitted.started("main", 2)
        submitted.ends(job, "COMPLETED")
    finally:
        cluster.join(dead)
        cluster.start_node(dead)
    assert_it_went_on_from_a_save(submitted, job)
