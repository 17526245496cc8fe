"""A job is asked to save and to stop on a real cluster, by a signal or a command, also while a rank hangs."""

import os
import re
import signal

import pytest

from megatron_lrps.campaign.record import events
from tests.conftest import Lrps
from tests.slurm.submitted import Submitted

pytestmark = pytest.mark.slurm


def test_ranks_that_cannot_stop_are_killed_and_the_requeued_job_follows_requests(
    submitted: Submitted, lrps: Lrps
) -> None:
    submitted.change("iters: 8", "iters: 6000")
    submitted.change("save-interval: 100", "save-interval: 4")
    submitted.change("slurm: {", "slurm: {stop_timeout: 12, ")
    jobs = submitted.submit("--path", "main")
    first = min(end for path, end in jobs if path == "main")
    job = jobs["main", first]
    submitted.at("main", 6)
    starts = submitted.starts("main")
    os.kill(submitted.rank("main", 1), signal.SIGSTOP)
    submitted.cluster.run("scancel", "--batch", "--signal=USR1", job)
    submitted.started("main", starts + 1)
    killed = re.search(
        r"lrps: main: its ranks have made no progress for 12 s since they were asked to save and stop; "
        r"they are killed, and (nothing is lost|the \d+ iterations after iteration (\d+) are lost)\n",
        submitted.log("main"),
    )
    assert killed, submitted.log("main")
    resumed = [event for event in events(submitted.folder.path("main")) if event["event"] == "started"][starts]
    assert killed[2] in (None, str(resumed["iteration"]))
    assert "to be continued: requeued, 1 of 3 since checkpoint 00" in submitted.log("main")
    code, stdout, stderr = lrps("save", submitted.plan)
    assert code == 0, stderr
    assert "main: saved at iteration " in stdout
    restarts = submitted.restarts(job)
    assert restarts >= 1
    code, stdout, stderr = lrps("stop", submitted.plan)
    assert code == 0, stderr
    assert stdout.endswith(", and stops\n")
    submitted.ends(job, "FAILED")
    said = submitted.log("main")
    assert "stopped by lrps stop, so it is not requeued; lrps submit goes on" in said
    assert submitted.restarts(job) == restarts, said


def test_ranks_that_cannot_follow_lrps_stop_are_killed_and_the_job_ends(submitted: Submitted, lrps: Lrps) -> None:
    submitted.change("iters: 8", "iters: 60")
    submitted.change("save-interval: 100", "save-interval: 4")
    submitted.change("slurm: {", "slurm: {stop_timeout: 12, ")
    jobs = submitted.submit("--path", "main")
    job = jobs["main", min(end for path, end in jobs if path == "main")]
    submitted.at("main", 6)
    os.kill(submitted.rank("main", 1), signal.SIGSTOP)
    code, _, stderr = lrps("stop", submitted.plan, "main")
    assert code == 75, stderr
    assert "main's ranks made no progress for 12 s after the request and were killed at iteration " in stderr
    submitted.ends(job, "FAILED")
    assert "stopped by lrps stop, so it is not requeued; lrps submit goes on" in submitted.log("main")
    assert submitted.restarts(job) == 0
