"""The process that writes checkpoints in the background: Megatron alone waits for ever for one that has died."""

import os
import signal
import time
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events
from tests.training.campaigns import ENTRY, train_path, write_campaign
from tests.training.ranks import started_ranks

pytestmark = pytest.mark.training

ASYNC = ", async-save: true, async-strategy: mcore, use-persistent-ckpt-worker: true"


def children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def test_a_writer_that_is_killed_ends_its_rank_and_the_run_goes_on(tmp_path: Path) -> None:
    plan = write_campaign(tmp_path, extra=f"{ASYNC}, tensor-model-parallel-size: 2", processes=2)
    plan.write_text(plan.read_text().replace("iters: 8", "iters: 40").replace("interval: 100,", "interval: 5,"))
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    arguments = ["--lrps-plan", str(plan), "--lrps-path", "main", "--lrps-cpu"]
    with started_ranks(ENTRY, arguments, logs) as ranks:
        folder = CampaignFolder(plan.parent / "run").path("main")
        deadline = time.monotonic() + 200
        while not Checkpoints.in_folder(folder.checkpoints).complete and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ranks[1].pid is not None
        (writer,) = [grandchild for child in children(ranks[1].pid) for grandchild in children(child)]
        os.kill(writer, signal.SIGKILL)
        killed = time.monotonic()
        ranks[1].join(60)
        assert ranks[1].exitcode == 128 + signal.SIGKILL, logs[1].read_text()[-3000:]
        assert time.monotonic() - killed < 10
        said = (
            f"lrps: The process that writes the checkpoints of rank 1 (process {writer} on {os.uname().nodename}) was "
        )
        assert f"{said}killed by SIGKILL (signal 9, usually because memory ran out)" in logs[1].read_text()
    (failed,) = [event for event in events(folder) if event["event"] == "failed"]
    assert "of rank 1" in failed["message"]
    assert failed["exit_code"] == 137  # a job is requeued for it

    ended = train_path(plan, "main", ranks=2)
    assert ended.codes == [0, 0], ended.log[-3000:]


def test_a_last_iteration_between_two_saves_is_saved(tmp_path: Path) -> None:
    plan = write_campaign(tmp_path, extra=ASYNC)
    assert train_path(plan, "main").codes == [0]  # it saves its fork points 4 and 11, and ends at the latter
    ended = train_path(plan, "v1", timeout=60)
    assert ended.codes == [0], ended.log[-3000:]
    assert Checkpoints.in_folder(CampaignFolder(tmp_path / "run").path("v1").checkpoints).complete == (8,)
