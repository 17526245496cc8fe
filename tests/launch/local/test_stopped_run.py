"""`lrps run` with real Megatron: two pipeline stages, stopped with Ctrl-C and continued by the same command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from tests.training.campaigns import losses, rates, train_path, write_campaign

pytestmark = pytest.mark.training


LRPS = "from megatron_lrps.cli.app import main; main()"


def start(plan: Path, before: str = "") -> subprocess.Popen[str]:
    """Start `lrps run`, after some code."""
    program = ["-m", "megatron_lrps.cli"] if not before else ["-c", f"{before}; {LRPS}"]
    return subprocess.Popen(
        [sys.executable, *program, "run", str(plan)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def campaign(folder: Path) -> Path:
    """One version: main trains to its fork at 20, v1 from there to 40."""
    folder.mkdir()
    plan = write_campaign(folder, extra=", pipeline-model-parallel-size: 2", processes=2)
    lines = [line for line in plan.read_text().splitlines() if "name: v2" not in line]
    plan.write_text("\n".join(lines).replace("iters: 8", "iters: 40"))
    return plan


def wait_for_iteration(plan: Path, path: str, iteration: int) -> None:
    """Until the ranks have logged an iteration."""
    text, deadline = f" iteration {iteration:8d}/", time.monotonic() + 300
    while not any(text in log.read_text() for log in (plan.parent / "run/paths" / path / "logs").glob("*.log")):
        assert time.monotonic() < deadline, f"{path} has not come to iteration {iteration}"
        time.sleep(0.02)


def test_ctrl_c_loses_nothing(tmp_path: Path) -> None:
    whole, stopped = campaign(tmp_path / "whole"), campaign(tmp_path / "stopped")
    for path in ("main", "v1"):
        ended = train_path(whole, path, ranks=2)
        assert ended.codes == [0, 0], ended.log[-3000:]

    for path, iteration in (("main", 5), ("v1", 23)):
        executor = start(stopped)
        try:
            wait_for_iteration(stopped, path, iteration)
            executor.send_signal(signal.SIGINT)
            output, _ = executor.communicate(timeout=300)
        finally:
            executor.kill()
        assert executor.returncode == 75, output[-3000:]
        folder = CampaignFolder(stopped.parent / "run").path(path).checkpoints
        assert iteration <= Checkpoints.in_folder(folder).complete[-1] < {"main": 20, "v1": 40}[path]
    executor = start(stopped)
    output, _ = executor.communicate(timeout=300)
    assert executor.returncode == 0, output[-3000:]

    for path in ("main", "v1"):
        assert losses(stopped, path) == losses(whole, path)
        assert rates(stopped, path) == rates(whole, path)
    assert sorted(losses(whole, "v1")) == list(range(21, 41))
