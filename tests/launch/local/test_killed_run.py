"""SIGKILL at seeded random instants: `lrps run` goes on with the uninterrupted run's losses, digit for digit."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.campaigns import losses, write_campaign

pytestmark = [pytest.mark.training, pytest.mark.soak]

KILLS = 20
TARGETS = ("one rank", "all ranks", "launcher", "executor")
MODES = {
    "sync": "",
    "async": ", async-save: true, async-strategy: mcore, use-persistent-ckpt-worker: true",
}


def campaign(folder: Path, mode: str) -> Path:
    """Main trains to its fork at 120 and v1 from there to 240; both save every third iteration."""
    folder.mkdir()
    plan = write_campaign(folder, extra=f", tensor-model-parallel-size: 2{MODES[mode]}", processes=2)
    lines = [line for line in plan.read_text().splitlines() if "name: v2" not in line]
    plan.write_text(
        "\n".join(lines).replace("iters: 8", "iters: 240").replace("save-interval: 100", "save-interval: 3")
    )
    return plan


def start(plan: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "megatron_lrps.cli", "run", str(plan), *arguments],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes(plan: Path) -> Iterator[tuple[int, str]]:
    """(pid, kind) of the campaign's live processes; the kind of a rank is its number."""
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or str(plan.parent).encode() not in (entry / "cmdline").read_bytes():
                continue
            line = (entry / "cmdline").read_bytes().decode().split("\0")
            environ = dict(item.split("=", 1) for item in (entry / "environ").read_text().split("\0") if "=" in item)
        except OSError:
            continue
        if "RANK" in environ:
            yield int(entry.name), environ["RANK"]
        elif "torch.distributed.run" in " ".join(line):
            yield int(entry.name), "launcher"
        else:
            yield int(entry.name), "executor"


def kill(plan: Path, target: str, numbers: random.Random) -> None:
    found = list(processes(plan))
    ranks = [pid for pid, kind in found if kind.isdigit()]
    if target == "one rank":
        victim = str(numbers.randrange(2))
        ranks = [pid for pid, kind in found if kind == victim]
    elif target in ("launcher", "executor"):
        ranks = [pid for pid, kind in found if kind == target]
    for pid in ranks:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def logs_of(plan: Path) -> list[Path]:
    """Every start's log, oldest first; their names are times."""
    return sorted(plan.parent.glob("run/paths/*/logs/*.log"), key=lambda log: log.name)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_any_instant_it_goes_on_where_it_was(mode: str, tmp_path: Path) -> None:
    whole, killed = campaign(tmp_path / "whole", mode), campaign(tmp_path / "killed", mode)
    finish(whole)
    numbers, inside_saves = random.Random(mode), 0
    for path in ("main", "v1"):
        for number in range(KILLS // 2):
            log = kill_once(killed, path, TARGETS[number % len(TARGETS)], numbers)
            inside_saves += log.count("saving checkpoint") > log.count("successfully saved")
        finish(killed, "--path", path)
    print(f"{mode}: {KILLS} kills, {inside_saves} inside a save")
    assert inside_saves >= 3, f"{inside_saves} of {KILLS} kills fell into a save"
    for path in ("main", "v1"):
        assert losses(killed, path) == losses(whole, path), path
    assert sorted(losses(whole, "v1")) == list(range(121, 241))


def kill_once(plan: Path, path: str, target: str, numbers: random.Random) -> str:
    """Start a path, kill at a random instant after its first iteration, and return the log of what was killed."""
    before = set(logs_of(plan))
    executor = start(plan, "--path", path)
    deadline = time.monotonic() + 300
    while not any("elapsed time per iteration" in log.read_text() for log in logs_of(plan) if log not in before):
        assert executor.poll() is None, executor.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(numbers.uniform(0.0, 0.8))
    kill(plan, target, numbers)
    output, _ = executor.communicate(timeout=300)
    assert executor.returncode == (-signal.SIGKILL if target == "executor" else 1), output[-3000:]
    return logs_of(plan)[-1].read_text()


def finish(plan: Path, *arguments: str) -> None:
    executor = start(plan, *arguments)
    output, _ = executor.communicate(timeout=400)
    assert executor.returncode == 0, output[-3000:]
