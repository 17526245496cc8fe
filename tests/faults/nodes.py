"""Nodes of a real Slurm cluster that die while a job trains on them: Slurm requeues the job, which goes on on others.

The cluster lives as long as the farm. Its jobs go on from fault to fault, and train a campaign to its end after the
last one in a row.
"""

import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.faults.campaigns import PATHS, Broken
from tests.faults.fault import Fault
from tests.faults.machine import POWER
from tests.faults.strike import judge, left_after
from tests.slurm.cluster import Cluster
from tests.slurm.submitted import Submitted

_SLURM = 'launch: {slurm: {nodes: 2, gpus_per_node: 1, partition: main, time: "01:00:00"}, '
"""One rank on each of two nodes; the cluster has four."""
_QUICK = "SlurmdTimeout=6\n"
"""Seconds after which Slurm takes a node for dead that does not answer."""
_REQUEUED_S = 120.0
_KILLED_S = 35.0
"""Slurm kills what is left of a job on other nodes 20 s (KillWait) after it has asked it to end."""
_RUN_S = 600.0
_OF_A_RANK = re.compile(r" *\d+: ")
_FAILED = ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
_ENDED = ("COMPLETED", *_FAILED)


@contextmanager
def cluster_of_nodes() -> Iterator[Cluster]:
    """Start a cluster for the farm; its jobs have other numbers than those of the farms before."""
    with TemporaryDirectory(prefix="lrps-nodes-") as folder:
        settings = f"{_QUICK}FirstJobId={random.randrange(1000, 60_000_000)}"
        with Cluster(Path(folder) / "cluster", settings=settings) as cluster:
            yield cluster


def strike_node(
    cluster: Cluster, broken: Broken, fault: Fault, reference: Mapping[str, Mapping[int, float]]
) -> dict[str, Any] | None:
    """Let a node die that a job of this campaign runs on, and judge; None if it was trained before that.

    Args:
        cluster: The cluster that its jobs are submitted to, if they have not been.
        broken: The campaign.
        fault: The fault.
        reference: Path -> iteration -> loss, of the run without a fault.
    """
    submitted = _submitted(cluster, broken)
    begun, since = time.monotonic(), time.time()
    if not _wait_for(submitted, broken, fault.phase, since):
        return None
    time.sleep(fault.delay)
    while (found := _running(submitted)) is None:
        if _trained(submitted):
            return None
        time.sleep(0.2)
    job, nodes = found
    victim = nodes[fault.number % len(nodes)]
    doing, saved, before, restarts = broken.doing(since), broken.saved(), _ranks(broken), submitted.restarts(job)
    alarms = broken.alarms()
    if fault.target == POWER:
        cluster.cut(victim)
    cluster.end(victim)
    killed = time.monotonic()
    while time.monotonic() < killed + _REQUEUED_S:
        if goes_on := submitted.restarts(job) > restarts or _state(cluster, job) in _ENDED:
            break
        time.sleep(0.2)
    ended = round(time.monotonic() - killed, 1)
    failed = _state(cluster, job) in _FAILED
    facts = judge(reference, broken.losses(), saved, broken.positions(), _said_by_the_job(submitted, job))
    facts["alarm"] = broken.alarms() > alarms
    left = _left(broken, before)
    cluster.join(victim)
    cluster.start_node(victim)
    times = {"after": round(killed - begun, 1), "ended": ended if goes_on and not failed else None}
    return {**asdict(fault), "doing": doing, **times, "code": None, "left": left, **facts}


def finish_jobs(cluster: Cluster, broken: Broken) -> None:
    """Wait until a campaign's jobs have trained it, and its processes have ended."""
    submitted = _submitted(cluster, broken)
    cluster.until(lambda: _trained(submitted), "the campaign is trained", _RUN_S)
    assert left_after(broken) == 0


def _submitted(cluster: Cluster, broken: Broken) -> Submitted:
    """Return the campaign, with jobs for all that is missing."""
    submitted = Submitted(cluster, broken.plan)
    if "slurm:" not in broken.plan.read_text():
        submitted.change("launch: {", _SLURM)
    done = submitted.lrps("submit")
    assert done.code == 0, done.stderr
    return submitted


def _wait_for(submitted: Submitted, broken: Broken, phase: str, since: float) -> bool:
    """Wait until the ranks report a phase; False if the campaign is trained before."""
    begun = looked = time.monotonic()
    while phase and broken.doing(since) != phase:
        if (now := time.monotonic()) > looked + 1:
            if _trained(submitted):
                return False
            looked = now
        assert now < begun + _RUN_S, submitted.cluster.run("squeue", "-t", "all")
        time.sleep(0.005)
    return True


def _trained(submitted: Submitted) -> bool:
    """Whether all jobs have succeeded; fails if one has not, and will not be requeued."""
    states = {_state(submitted.cluster, job) for job in submitted.jobs().values()}
    assert not states & {*_FAILED}, "\n".join(submitted.log(path)[-3000:] for path in PATHS)
    return states <= {"COMPLETED", ""}


def _state(cluster: Cluster, job: str) -> str:
    """Return a job's state; nothing if it is a job of an earlier cluster."""
    return cluster.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T", check=False)


def _running(submitted: Submitted) -> tuple[str, list[str]] | None:
    """Return the job that runs, and its nodes."""
    for job in submitted.jobs().values():
        said = submitted.cluster.run("squeue", "-h", "-t", "RUNNING", "-j", job, "-o", "%N", check=False)
        if said:
            return job, submitted.cluster.run("scontrol", "show", "hostnames", said).split()
    return None


def _ranks(broken: Broken) -> set[int]:
    return {pid for pids in broken.processes().values() for pid in pids}


def _left(broken: Broken, before: set[int]) -> int:
    """Return the number of the earlier start's processes that are still there when Slurm must have killed them."""
    end = time.monotonic() + _KILLED_S
    while (left := len(_ranks(broken) & before)) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _said_by_the_job(submitted: Submitted, job: str) -> str:
    """Return what a job's script and the guards beside its ranks have said; srun labels the lines of ranks."""
    path = next(key[0] for key, number in submitted.jobs().items() if number == job)
    return "\n".join(line for line in submitted.log(path).splitlines() if not _OF_A_RANK.match(line))
