"""A rank of real Megatron is stopped under `lrps run`: it is named, the others are where they wait, and all goes on."""

import os
import signal
import time
from pathlib import Path

import pytest

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events
from megatron_lrps.launch.local.ranks import writers
from tests.launch.local.test_stopped_run import start, wait_for_iteration
from tests.training.campaigns import write_campaign

pytestmark = pytest.mark.training


def test_a_stopped_rank_is_named_and_the_run_goes_on_when_it_does(tmp_path: Path) -> None:
    plan = write_campaign(tmp_path, extra=", tensor-model-parallel-size: 2", processes=2)
    lines = [line for line in plan.read_text().splitlines() if "name: v2" not in line]
    text = "\n".join([*lines, "alerts: {stall_least: 6}"])
    plan.write_text(text.replace("iters: 8", "iters: 200"))
    main = CampaignFolder(tmp_path / "run").path("main")
    executor = start(plan)
    try:
        wait_for_iteration(plan, "main", 5)
        (victim,) = [
            pid
            for pid in writers(main.logs.glob("*.log"))
            if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
            and os.getsid(pid) == pid  # not a process that it has started
        ]
        os.kill(victim, signal.SIGSTOP)
        deadline = time.monotonic() + 120
        while not (alerts := [event for event in events(main) if event["event"] == "alert"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(victim, signal.SIGCONT)
        output, _ = executor.communicate(timeout=300)
    finally:
        executor.kill()
    assert executor.returncode == 0, output[-3000:]
    assert f"rank 1 (process {victim}) is stopped by a signal, and 1 wait in a collective" in alerts[0]["message"]
    (log,) = main.logs.glob("*.log")
    stacks = log.read_text()
    assert "lrps: the stacks of rank 0 (process " in stacks
    assert "megatron/training/training.py" in stacks


def test_a_launcher_that_outlives_its_ranks_is_ended(tmp_path: Path) -> None:
    """As one does whose own network is cut; here it is stopped. The path is trained, and the next one is."""
    plan = write_campaign(tmp_path)
    plan.write_text("\n".join(line for line in plan.read_text().splitlines() if "name: v2" not in line))
    main = CampaignFolder(tmp_path / "run").path("main")
    executor = start(plan, "from megatron_lrps.launch.local import rank_watch; rank_watch._ALONE_S = 3.0")
    try:
        wait_for_iteration(plan, "main", 2)
        (torchrun,) = [
            pid
            for pid in writers(main.logs.glob("*.log"))
            if b"\0RANK=" not in Path(f"/proc/{pid}/environ").read_bytes() and os.getsid(pid) == pid
        ]
        os.kill(torchrun, signal.SIGSTOP)
        output, _ = executor.communicate(timeout=300)
    finally:
        executor.kill()
    assert executor.returncode == 0, output[-3000:]
    assert "main: its ranks have ended, and what started them has not: it is killed" in output
    assert "v1" in output
