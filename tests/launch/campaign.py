"""A small campaign on disk, and `lrps run` on it with the stand-in ranks of `fake_pretrain`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import PathFolder

PLAN = """
campaign: tiny
save: runs
lr: {max: 3.0e-4, min: 3.0e-5}
decay: {shape: cosine, alpha: 0.6}
sequence_length: 16
global_batch_size: 8
versions:
  - {name: v1, iters: 10, train: [[1.0, data1]]}
  - {name: v2, iters: 10, train: [[1.0, data2]]}
launch: {device: cpu, local: {processes: 2}}
"""
"""main trains (0, 14], v1 (4, 10], v2 (14, 20]."""

# Through the real command line; only what the ranks run is another module. A test run in a shell's background
# ignores SIGINT, and what it starts would inherit that.
_RUN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from megatron_lrps.cli import app
from megatron_lrps.launch import executor
executor.EXECUTORS["local"] = executor.LocalExecutor(module="fake_pretrain")
app.main()
"""


class TinyCampaign:
    """A plan with its data, and the executors started on it."""

    def __init__(self, root: Path) -> None:
        self.plan = root / "plan.yaml"
        self.plan.write_text(PLAN)
        for name in ("data1.bin", "data1.idx", "data2.bin", "data2.idx"):
            (root / name).touch()
        self._temporary = root / "tmp"
        self._temporary.mkdir()
        self._executors: list[subprocess.Popen[str]] = []

    @property
    def campaign(self) -> Campaign:
        return Campaign.open(self.plan)

    def folder(self, path: str) -> PathFolder:
        return self.campaign.folder.path(path)

    def saved(self, path: str) -> list[int]:
        return [*Checkpoints.in_folder(self.folder(path).checkpoints).complete]

    def save(self, path: str, iteration: int, *, torn: bool = False) -> None:
        """What looks like a checkpoint, complete or cut off."""
        folder = Checkpoint(self.folder(path).checkpoints, iteration).folder
        folder.mkdir(parents=True)
        for name in (".metadata", "metadata.json")[: 1 if torn else 2]:
            (folder / name).write_text("{}")

    def start(self, *args: str, mode: str = "", seconds: float = 0.01) -> subprocess.Popen[str]:
        """`lrps run PLAN ARGS` in a process of its own."""
        executor = subprocess.Popen(
            [sys.executable, "-c", _RUN, "run", str(self.plan), *args],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parent),
                "TMPDIR": str(self._temporary),
                "FAKE_MODE": mode,
                "FAKE_SECONDS": str(seconds),
            },
            cwd=self.plan.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._executors.append(executor)
        return executor

    def run(self, *args: str, mode: str = "") -> tuple[int, str, str]:
        """`start`, to its end: exit code, standard output, standard error."""
        executor = self.start(*args, mode=mode)
        stdout, stderr = executor.communicate(timeout=300)
        return executor.returncode, stdout, stderr

    def wait_for(self, path: str, iteration: int) -> None:
        """Until the ranks have reported an iteration."""
        text = f" iteration {iteration:8d}/"
        wait_until(lambda: any(text in log.read_text() for log in self.folder(path).logs.glob("*.log")))

    def processes(self) -> list[int]:
        """Live processes that name the plan on their command line: executors, torchrun, ranks."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str(self.plan).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        for executor in self._executors:
            executor.kill()
            executor.communicate()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.processes(), seconds=5)
        for pid in (left := self.processes()):
            os.kill(pid, signal.SIGKILL)
        assert not left, "processes outlived their executor"
        assert not list(self._temporary.iterdir()), "torchrun left files behind"


def wait_until(condition, seconds: float = 300) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not happened in time"
        time.sleep(0.02)


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[TinyCampaign]:
    campaign = TinyCampaign(tmp_path)
    yield campaign
    campaign.close()
