"""A rank of a job hangs on a real cluster: it is seen, the stacks of all ranks are in the log, and the job goes on."""

import os
import signal

import pytest

from megatron_lrps.campaign.record import events
from tests.slurm.submitted import Submitted

pytestmark = pytest.mark.slurm


def test_a_stalled_job_shows_its_stacks_and_is_requeued(submitted: Submitted) -> None:
    submitted.change("iters: 8", "iters: 60")
    submitted.plan.write_text(submitted.plan.read_text() + "alerts: {stall_least: 10, stall_ends: true}\n")
    jobs = submitted.submit("--path", "main")
    first = min(end for path, end in jobs if path == "main")
    submitted.at("main", 5)
    os.kill(submitted.rank("main", 1), signal.SIGSTOP)
    submitted.started("main", 2)
    submitted.ends(jobs["main", first], "COMPLETED")
    said = submitted.log("main")
    assert "lrps: main: stall: no iteration has ended for " in said
    assert "lrps: main: its ranks are killed, because alerts.stall_ends is set" in said
    assert "torch/distributed/distributed_c10d.py" in said  # where the other ranks wait
    assert submitted.restarts(jobs["main", first]) == 1
    alerts = [event for event in events(submitted.folder.path("main")) if event["event"] == "alert"]
    assert [alert["kind"] for alert in alerts] == ["stall"]
