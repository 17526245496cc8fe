"""A rank of real Megatron is really slow under `lrps run`, since it is stopped most of the time: it is named."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.record import events
from megatron_lrps.launch.local.ranks import writers
from tests.launch.local.test_stopped_run import start, wait_for_iteration
from tests.training.campaigns import write_campaign

pytestmark = pytest.mark.training


@contextlib.contextmanager
def slowed(pid: int) -> Iterator[None]:
    """Let a process run for a fifth of the time."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.04)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _of_stragglers(path: PathFolder) -> list[dict[str, Any]]:
    """Return the alerts that name a slow rank; the path as a whole may have been found slower before."""
    return [event for event in events(path) if event["event"] == "alert" and event["kind"] == "straggler"]


@pytest.mark.parametrize("layout", [", tensor-model-parallel-size: 2", ""], ids=["TP2", "DP2"])
def test_a_slow_rank_is_named(tmp_path: Path, layout: str) -> None:
    plan = write_campaign(tmp_path, extra=layout, processes=2)
    lines = [line for line in plan.read_text().splitlines() if "name: v2" not in line]
    text = "\n".join([*lines, "alerts: {window: 32}"])
    plan.write_text(text.replace("iters: 8", "iters: 2000"))
    main = CampaignFolder(tmp_path / "run").path("main")
    executor = start(plan)
    try:
        wait_for_iteration(plan, "main", 3)
        (victim,) = [
            pid
            for pid in writers(main.logs.glob("*.log"))
            if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes() and os.getsid(pid) == pid
        ]
        with slowed(victim):
            deadline = time.monotonic() + 120
            while not (alerts := _of_stragglers(main)):
                assert time.monotonic() < deadline, (main.root / "pace.json").read_text()
                time.sleep(0.1)
    finally:
        executor.kill()
        output, _ = executor.communicate(timeout=60)
    (alert,) = alerts
    assert alert["values"]["rank"] == 1, alert
    assert alert["iteration"] >= 8
    assert alert["values"]["own"] > 2 * alert["values"]["others"]
    assert f"main: straggler: rank 1 on {os.uname().nodename} needs " in output
