"""The watch whether a Slurm job's ranks stop. Slurm's commands are stand-ins that write down how they were called."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megatron_lrps.campaign.activity import Teller
from megatron_lrps.storage.ownership import acquire
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
    campaign, calls = TinyCampaign(tmp_path), tmp_path / "calls"
    campaign.plan.write_text(PLAN.replace("launch: {", f"launch: {{slurm: {{stop_timeout: {timeout}}}, "))
    answer = f"case $* in *--steps*) printf '7.batch\\n7.1\\n' ;; *) echo {left} ;; esac"
    for name, does in (("scancel", f'echo "scancel $*" >>{calls}'), ("squeue", answer)):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\n{does}\n")
        command.chmod(0o755)
    folder = campaign.folder("main")
    teller = Teller(folder, acquire(folder.root, say=print).token)
    campaign.save("main", 5)
    for iteration in (6, 7):
        teller.iterated(iteration)
    teller.tell("training")
    begun = time.monotonic()
    guard = subprocess.run(
        [sys.executable, "-m", "megatron_lrps.launch.slurm.stop_guard", str(campaign.plan), "main"],
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert guard.stderr == ""
    assert guard.stdout == (
        f"lrps: main: its ranks {why}; they are killed, and the 2 iterations after iteration 5 are lost\n"
    )
    assert calls.read_text() == "scancel --signal=KILL 7.1\n"
    assert time.monotonic() - begun > 2
