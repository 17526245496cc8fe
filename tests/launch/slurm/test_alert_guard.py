"""The watch beside a Slurm job's ranks. Slurm's commands are stand-ins that write down how they were called."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megatron_lrps.campaign.activity import Teller
from megatron_lrps.campaign.record import events
from megatron_lrps.storage.ownership import acquire
from tests.launch.campaign import PLAN, TinyCampaign, wait_until


@pytest.fixture
def stalled(tmp_path: Path) -> TinyCampaign:
    """A campaign whose main path has trained seven iterations, and then nothing."""
    campaign = TinyCampaign(tmp_path)
    campaign.plan.write_text(PLAN + "alerts: {stall_least: 0.4, stall_ends: true}\n")
    for name, answer in (("scancel", ""), ("squeue", "printf '7.batch\\n7.1\\n'")):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/calls\n{answer}\n')
        command.chmod(0o755)
    return campaign


def test_ranks_that_never_hold_their_path_stall_too(stalled: TinyCampaign, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    stalled.plan.write_text(stalled.plan.read_text().replace("stall_least: 0.4", "stall_least: 0.4, stall_pause: 1"))
    guard = start(stalled)
    try:
        wait_until(lambda: calls.exists() and "URG" in calls.read_text(), seconds=100)
    finally:
        guard.kill()
        said, _ = guard.communicate()
    assert "lrps: main: stall: starting, for " in said
    assert " s without progress; the limit is 1 s. The stacks of its ranks follow\n" in said
    assert said.count("stall: ") == 1


def start(campaign: TinyCampaign) -> subprocess.Popen[str]:
    folder = campaign.plan.parent
    return subprocess.Popen(
        [sys.executable, "-m", "megatron_lrps.launch.slurm.alert_guard", str(campaign.plan), "main"],
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_stall_is_told_once_and_its_step_is_killed(stalled: TinyCampaign, tmp_path: Path) -> None:
    folder, calls = stalled.folder("main"), tmp_path / "calls"
    teller = Teller(folder, acquire(folder.root, say=print).token)
    teller.tell("training")
    for iteration in range(1, 8):
        teller.iterated(iteration)
        time.sleep(0.01)
    teller.pulse(0.05)
    guard = start(stalled)
    try:
        wait_until(lambda: calls.exists() and "KILL" in calls.read_text(), seconds=100)
        time.sleep(1.0)  # it looks ten times a second
    finally:
        guard.kill()
        said, _ = guard.communicate()
    assert calls.read_text().splitlines() == [
        "scancel --signal=URG 7",
        "squeue --noheader --jobs=7 --steps --format=%i",
        "scancel --signal=KILL 7.1",
    ]
    (alert,) = [event for event in events(folder) if event["event"] == "alert"]
    assert (alert["kind"], alert["iteration"]) == ("stall", 7)
    assert f"lrps: main: {alert['message']}. The stacks of its ranks follow\n" in said
