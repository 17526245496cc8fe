"""A stalled path under `lrps run`: real processes, which only pretend to train."""

import json
import os
import signal
import time
from pathlib import Path

from megatron_lrps.campaign.record import events
from megatron_lrps.launch.local.ranks import writers
from tests.conftest import Lrps
from tests.launch.campaign import TinyCampaign, campaign, wait_until

__all__ = ["campaign"]  # a fixture


def stalled(campaign: TinyCampaign, *, ends: bool) -> None:
    hook = campaign.plan.parent / "hook"
    hook.write_text('#!/bin/sh\necho "$LRPS_ALERT_KIND at $LRPS_ALERT_ITERATION" >>"$0.told"\n')
    hook.chmod(0o755)
    rules = f"alerts: {{stall_least: 1, hook: [./hook], stall_ends: {str(ends).lower()}}}\n"
    campaign.plan.write_text(campaign.plan.read_text() + rules)


def test_a_stall_is_told_recorded_and_explained_and_ends_the_part_if_that_is_wanted(campaign: TinyCampaign) -> None:
    stalled(campaign, ends=True)
    executor = campaign.start("--path", "main", mode="stall")
    stdout, stderr = executor.communicate(timeout=100)
    assert executor.returncode == 75, stderr
    said = next(line for line in stdout.splitlines() if line.startswith("main: stall: "))
    assert "no iteration has ended for 1 s, and one takes 0.0" in said
    assert "the limit is 1 s; rank 0 (process " in said  # neither is in a collective
    assert said.count("fake_pretrain.py:") == 2
    (log,) = campaign.folder("main").logs.glob("*.log")
    assert said.endswith(f"The stacks of its ranks are in {log}")
    stacks = log.read_text()
    for rank in (0, 1):
        assert f"lrps: the stacks of rank {rank} (process " in stacks
    assert stacks.count('fake_pretrain.py", line ') >= 2
    (alert,) = [event for event in events(campaign.folder("main")) if event["event"] == "alert"]
    assert (alert["kind"], alert["iteration"], alert["values"]["limit"]) == ("stall", 7, 1.0)
    assert (campaign.plan.parent / "hook.told").read_text() == "stall at 7\n"
    assert "path main was ended at iteration 7 for a stall: " in stderr
    assert "the 2 iterations after its checkpoint at 5 are lost" in stderr
    assert not campaign.processes()


def test_ranks_that_hang_before_they_hold_their_path_stall_too(campaign: TinyCampaign) -> None:
    campaign.plan.write_text(campaign.plan.read_text() + "alerts: {stall_pause: 2, stall_ends: true}\n")
    executor = campaign.start("--path", "main", seconds=600.0)
    stdout, stderr = executor.communicate(timeout=100)
    assert executor.returncode == 75, stderr
    said = next(line for line in stdout.splitlines() if line.startswith("main: stall: "))
    assert said.startswith("main: stall: starting, for ")
    assert " s without progress; the limit is 2 s" in said
    assert "path main was ended at iteration 0 for a stall: starting, for " in stderr


def test_a_stopped_rank_is_named_status_says_it_too_and_nothing_is_ended(campaign: TinyCampaign, lrps: Lrps) -> None:
    stalled(campaign, ends=False)
    executor = campaign.start("--path", "main", mode="stall")
    campaign.wait_for("main", 7)
    victim = next(pid for pid in writers(campaign.folder("main").logs.glob("*.log")) if b"\0RANK=1\0" in _environ(pid))
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: any(event["event"] == "alert" for event in events(campaign.folder("main"))), seconds=60)
    assert "\nmain: stalled: no iteration has ended for " in lrps("status", campaign.plan).stdout
    (main, *_) = json.loads(lrps("status", campaign.plan, "--json").stdout)["paths"]
    assert main["stall"]["limit"] == 1.0
    assert main["stall"]["message"].startswith("no iteration has ended for ")
    time.sleep(1.5)
    assert executor.poll() is None
    alerts = [event for event in events(campaign.folder("main")) if event["event"] == "alert"]
    assert len(alerts) == 1  # it is one stall
    assert f"rank 1 (process {victim}) is stopped by a signal" in alerts[0]["message"]


def _environ(pid: int) -> bytes:
    return b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
