"""The watch whether a Slurm job's ranks stop. Slurm's commands are stand-ins that write down how they were called."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from megatron_lrps.campaign.activity import Teller
from megatron_lrps.campaign.path_request import OverdueEnd, ask, overdue_end
from megatron_lrps.launch.slurm import job_steps, stop_guard
from megatron_lrps.storage.ownership import acquire, holder
from tests.launch.campaign import PLAN, TinyCampaign


@pytest.mark.parametrize(
    ("timeout", "left", "why"),
    [
        ("2", "UNLIMITED", "have made no progress for 2 s since they were asked to save and stop"),
        ("60", "0:04", "have not stopped, and the job's time is nearly over"),
    ],
)
def test_ranks_that_do_not_stop_are_killed_before_slurm_ends_the_job(
    tmp_path: Path, timeout: str, left: str, why: str
) -> None:
    campaign = hung_campaign(tmp_path, timeout, left)
    begun = time.monotonic()
    guard = start(campaign)
    stdout, stderr = guard.communicate(timeout=100)
    assert stderr == ""
    assert stdout == f"lrps: main: its ranks {why}; they are killed, and the 2 iterations after iteration 5 are lost\n"
    assert (tmp_path / "calls").read_text() == "scancel --signal=KILL 7.1\n"
    assert time.monotonic() - begun > 2


def test_ranks_that_do_not_follow_lrps_stop_are_killed_and_the_job_is_not_requeued(tmp_path: Path) -> None:
    campaign = hung_campaign(tmp_path, "2", "UNLIMITED")
    folder = campaign.folder("main")
    guard = start(campaign, "--on-request")
    owner = holder(folder.root)
    assert owner is not None
    request = ask(folder, "stop", holder=owner.token)
    stdout, stderr = guard.communicate(timeout=100)
    assert stderr == ""
    assert stdout == (
        "lrps: main: its ranks have made no progress for 2 s since lrps stop asked them to save and stop; they are "
        "killed, and the 2 iterations after iteration 5 are lost\n"
    )
    assert (tmp_path / "calls").read_text() == "scancel --signal=KILL 7.1\n"
    assert overdue_end(folder, request) == OverdueEnd(iteration=7, saved=5, seconds=2.0)
    assert '"reason": "request"' in folder.events.read_text()  # by which the job's script knows


def test_a_step_that_outlives_its_rank_0_is_killed_and_so_is_srun_if_it_waits_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = hung_campaign(tmp_path, "600", "UNLIMITED")
    monkeypatch.setattr(stop_guard, "_LOOK_FOR_REQUEST_S", 0.05)
    monkeypatch.setattr(stop_guard, "_ALONE_S", 0.3)
    monkeypatch.setattr(job_steps, "_SRUN_S", 0.1)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with subprocess.Popen(["sleep", "600"]) as srun:
        monkeypatch.setenv("LRPS_SRUN", str(srun.pid))
        threading.Timer(0.5, (campaign.folder("main").root / "owner.json").unlink).start()  # rank 0 lets the path go
        assert stop_guard.main([str(campaign.plan), "main", "--on-request"]) == 0
        assert srun.wait(60) == -signal.SIGKILL
    assert capsys.readouterr().out == (
        "lrps: main: rank 0 has ended, and 0.3 s later its step has not: what is left of it is killed\n"
    )
    assert (tmp_path / "calls").read_text() == "scancel --signal=KILL 7.1\n"


def hung_campaign(folder: Path, timeout: str, left: str) -> TinyCampaign:
    """A campaign whose ranks have saved at iteration 5 and do nothing after 7; Slurm says how long the job has left."""
    campaign, calls = TinyCampaign(folder), folder / "calls"
    campaign.plan.write_text(PLAN.replace("launch: {", f"launch: {{slurm: {{stop_timeout: {timeout}}}, "))
    answer = f"case $* in *--steps*) printf '7.batch\\n7.1\\n' ;; *) echo {left} ;; esac"
    for name, does in (("scancel", f'echo "scancel $*" >>{calls}'), ("squeue", answer)):
        command = folder / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\n{does}\n")
        command.chmod(0o755)
    path = campaign.folder("main")
    teller = Teller(path, acquire(path.root, say=print).token)
    campaign.save("main", 5)
    for iteration in (6, 7):
        teller.iterated(iteration)
    teller.tell("training")
    return campaign


def start(campaign: TinyCampaign, *options: str) -> subprocess.Popen[str]:
    """The guard."""
    folder = campaign.plan.parent
    return subprocess.Popen(
        [sys.executable, "-m", "megatron_lrps.launch.slurm.stop_guard", str(campaign.plan), "main", *options],
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
