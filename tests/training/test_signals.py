"""SIGTERM and the exit signal save and leave with 75; meanwhile nobody else may train the path."""

import os
import signal
import time
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.manifest import read_manifest
from megatron_lrps.campaign.record import events
from tests.training.campaigns import ENTRY, run_ranks, train_path, write_campaign
from tests.training.ranks import started_ranks

pytestmark = pytest.mark.training


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_saves_and_leaves_with_75(number: signal.Signals, tmp_path: Path) -> None:
    plan = write_campaign(tmp_path)
    plan.write_text(plan.read_text().replace("iters: 8", "iters: 8000").replace("interval: 100,", "interval: 100000,"))
    arguments = ["--lrps-plan", str(plan), "--lrps-path", "main", "--lrps-cpu"]
    log = tmp_path / "log"
    log.touch()
    with started_ranks(ENTRY, arguments, [log]) as (rank,):
        assert rank.pid is not None
        deadline = time.monotonic() + 300
        while " iteration        3/" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        if number == signal.SIGTERM:
            other = run_ranks(arguments, cwd=tmp_path)
            assert other.codes == [78]
            assert f"main is being written by process {rank.pid} on" in other.log
            assert "may not write there too" in other.log
        reached = log.read_text().count("elapsed time per iteration")
        started = Path(f"/proc/{rank.pid}/task/{rank.pid}/children").read_text().split()
        assert started  # one collects what a save's writers have written
        for pid in (*map(int, started), rank.pid):  # as Slurm does, to all processes of a step
            os.kill(pid, number)
        rank.join(30)
        assert rank.exitcode == 75, log.read_text()[-3000:]
    folder = CampaignFolder(tmp_path / "run").path("main")
    found = Checkpoints.in_folder(folder.checkpoints)
    (saved,), torn = found.complete, found.torn
    assert not torn
    assert saved <= reached + 2  # one may have ended since the log was read, and the one at work is finished
    manifest = read_manifest(Checkpoint(folder.checkpoints, saved).folder)
    assert manifest is not None
    assert manifest.sha256  # hashed before it left
    *_, last = events(folder)
    assert (last["event"], last["reason"], last["iteration"]) == ("stopped", "signal", saved)
    assert not (folder.root / "owner.json").exists()
    if number == signal.SIGUSR2:
        assert train_path(plan, "main", "--exit-interval", str(saved + 2)).codes == [75]  # it goes on
        assert Checkpoints.in_folder(folder.checkpoints).complete == (saved, saved + 2)


@pytest.mark.soak
def test_the_time_limit_saves_and_leaves_with_75(tmp_path: Path) -> None:
    plan = write_campaign(tmp_path)
    plan.write_text(plan.read_text().replace("iters: 8", "iters: 8000"))
    assert train_path(plan, "main", "--exit-duration-in-mins", "1").codes == [75]  # whole minutes, Megatron's unit
    folder = CampaignFolder(tmp_path / "run").path("main")
    *_, last = events(folder)
    assert (last["event"], last["reason"]) == ("stopped", "duration")
    # And those of the save interval before it.
    assert Checkpoints.in_folder(folder.checkpoints).newest == last["iteration"]
