"""The storage fails in the middle of a save of `lrps run`: exit code 74 and plain words; what was saved is whole.

That the run then goes on digit for digit is shown by ``tests/training/test_disk_full.py``.
"""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.manifest import damaged_contents
from tests.training.campaigns import write_campaign

pytestmark = pytest.mark.training

TP = ", tensor-model-parallel-size: 2"
MODES = {
    "sync": TP,
    "async": f"{TP}, async-save: true, async-strategy: mcore, use-persistent-ckpt-worker: true",
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "none", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="session")
def failing_writes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes writes fail, since root is above quotas, and a disk cannot be broken on request."""
    library = tmp_path_factory.mktemp("library") / "failing_writes.so"
    source = Path(__file__).parents[2] / "training" / "failing_writes.c"
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def campaign(folder: Path, mode: str, save: Path) -> Path:
    """Main alone matters; it saves every second iteration."""
    plan = write_campaign(folder, extra=MODES[mode], processes=2)
    text = plan.read_text().replace("iters: 8", "iters: 60").replace("save-interval: 100", "save-interval: 2")
    plan.write_text(text.replace("save: run", f"save: {save}"))
    return plan


def run(plan: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "megatron_lrps.cli", "run", str(plan), "--path", "main"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **(env or {})}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(said: Callable[[], object], executor: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not said() and executor.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            pass


def whole(folder: Path) -> int:
    """The newest checkpoint, all of which are whole."""
    found = Checkpoints.in_folder(folder).complete
    assert all(damaged_contents(Checkpoint(folder, iteration).folder) == [] for iteration in found)
    return found[-1]


@pytest.mark.parametrize("mode", ["sync", pytest.param("async", marks=pytest.mark.soak)])
def test_a_disk_that_fills_up_loses_nothing_that_was_saved(mode: str, disk: Path, tmp_path: Path) -> None:
    plan = campaign(tmp_path / "full", mode, disk / "run")
    folder = disk / "run" / "paths" / "main" / "checkpoints"
    executor = run(plan)
    wait_for(lambda: Checkpoints.in_folder(folder).complete, executor)
    fill(disk)
    _, stderr = executor.communicate(timeout=200)
    assert executor.returncode == 74, stderr
    saved = whole(folder)
    assert f"failed: No space left on device. It is on tmpfs at {disk}, where " in stderr
    assert " are free; a save takes about " in stderr
    assert f" The checkpoint of iteration {saved} is whole. Fix: make room" in stderr
    assert f"it continues from iteration {saved}, and the log is " in stderr
    assert "Traceback" not in stderr


def test_a_disk_that_is_full_before_the_ranks_begin_is_named_too(disk: Path, tmp_path: Path) -> None:
    plan = campaign(tmp_path / "full", "sync", disk / "run")
    logs = disk / "run" / "paths" / "main" / "logs"
    executor = run(plan)
    wait_for(lambda: list(logs.glob("*.log")), executor)
    fill(disk)
    _, stderr = executor.communicate(timeout=200)
    assert executor.returncode == 74, stderr
    (log,) = logs.glob("*.log")
    assert f"A write to {log} failed before training began: No space left on device. It is on tmpfs at {disk}" in stderr
    assert "it continues from iteration 0" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("code", "mode"),
    [
        (errno.EDQUOT, "async"),
        pytest.param(errno.EDQUOT, "sync", marks=pytest.mark.soak),
        pytest.param(errno.EIO, "sync", marks=pytest.mark.soak),
        pytest.param(errno.ESTALE, "async", marks=pytest.mark.soak),
    ],
)
def test_a_quota_a_broken_disk_and_a_stale_mount_are_told_apart(
    code: int, mode: str, failing_writes: Path, tmp_path: Path
) -> None:
    plan = campaign(tmp_path / "failing", mode, tmp_path / "run")
    folder, begun = tmp_path / "run" / "paths" / "main" / "checkpoints", tmp_path / "begun"
    env = {"LD_PRELOAD": str(failing_writes), "FAIL_ERRNO": str(code), "FAIL_FROM": str(begun)}
    executor = run(plan, env)
    wait_for(lambda: Checkpoints.in_folder(folder).complete, executor)
    begun.touch()
    _, stderr = executor.communicate(timeout=200)
    assert executor.returncode == 74, stderr
    assert f"A write to {folder} failed: {os.strerror(code)}. It is on " in stderr
    assert f" The checkpoint of iteration {whole(folder)} is whole. Fix: " in stderr
    assert "Traceback" not in stderr
