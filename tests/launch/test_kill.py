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
    """Main trains to its fork at 240 and v1 from there to 480; both save every third iteration."""
    folder.mkdir()
    plan = write_campaign(folder, extra=f", tensor-model-parallel-size: 2{MODES[mode]}", processes=2)
    lines = [line for line in plan.read_text().splitlines() if "name: v2" not in line]
    plan.write_text(
        "\n".join(lines).replace("iters: 8", "iters: 480").replace("save-interval: 100", "save-interval: 3")
    )
    return plan


def start(plan: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "megatron_lrps.cli", "run", str(plan)],
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


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_any_instant_it_goes_on_where_it_was(mode: str, tmp_path: Path) -> None:
    whole, killed = campaign(tmp_path / "whole", mode), campaign(tmp_path / "killed", mode)
    executor = start(whole)
    output, _ = executor.communicate(timeout=300)
    assert executor.returncode == 0, output[-3000:]

    numbers, inside_saves, kills = random.Random(mode), 0, []
    while len(kills) < KILLS:
        target = TARGETS[len(kills) % len(TARGETS)]
        before = set(logs_of(killed))
        executor = start(killed)
        deadline = time.monotonic() + 120
        while executor.poll() is None and time.monotonic() < deadline:
            if any("elapsed time per iteration" in log.read_text() for log in logs_of(killed) if log not in before):
                break
            time.sleep(0.05)
        time.sleep(numbers.uniform(0.0, 1.5))
        kill(killed, target, numbers)
        output, _ = executor.communicate(timeout=120)
        kills.append((target, executor.returncode))
        log = logs_of(killed)[-1].read_text()
        inside_saves += log.count("saving checkpoint") > log.count("successfully saved")
        if executor.returncode == 0:
            break
        assert executor.returncode == (-signal.SIGKILL if target == "executor" else 1), output[-3000:]
    assert len(kills) == KILLS, f"the campaign was trained before all kills: {kills}"
    assert inside_saves >= 3, f"{inside_saves} of {KILLS} kills fell into a save"

    executor = start(killed)
    output, _ = executor.communicate(timeout=300)
    assert executor.returncode == 0, output[-3000:]
    for path in ("main", "v1"):
        assert losses(killed, path) == losses(whole, path), path
    assert sorted(losses(whole, "v1")) == list(range(241, 481))
    print(f"{mode}: {KILLS} kills, {inside_saves} inside a save")
