"""What a rank has started, forked, spawned, or by a fork server, ends with it and not before."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import multiprocessing, os, sys, time
from megatron_lrps.training.child_processes import tie_forks

def sleep(pids):
    pids.put(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    tie_forks()
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        pids = context.Queue()
        context.Process(target=sleep, args=(pids,), daemon=True).start()
        print(pids.get(), flush=True)
    if sys.argv[1] == "wait":
        time.sleep(60)
    if sys.argv[1] == "end":
        sys.exit(0)
    os._exit(75)
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended(pids: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while any(map(lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(lives, pids))


def start(tmp_path: Path, how: str) -> tuple[subprocess.Popen[str], list[int]]:
    script = tmp_path / "rank.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), how],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    return process, [int(process.stdout.readline()) for _ in range(3)]


def test_helpers_outlive_what_asks_the_rank_to_stop(tmp_path: Path) -> None:
    process, pids = start(tmp_path, "wait")
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        for pid in pids:
            os.kill(pid, number)
    time.sleep(0.5)  # in which they would end
    assert all(map(lives, pids))
    process.kill()
    process.communicate()


def test_helpers_end_with_a_killed_rank(tmp_path: Path) -> None:
    process, pids = start(tmp_path, "wait")
    assert all(map(lives, pids))
    process.send_signal(signal.SIGKILL)
    assert ended(pids)
    process.communicate()


def test_helpers_end_with_a_rank_that_leaves_at_once(tmp_path: Path) -> None:
    process, pids = start(tmp_path, "leave")
    assert ended(pids)
    process.communicate()
    assert process.returncode == 75


def test_a_rank_that_has_nothing_to_do_does_not_wait_for_its_helpers(tmp_path: Path) -> None:
    process, pids = start(tmp_path, "end")
    assert process.wait(timeout=20) == 0  # they sleep a minute, and ignore what multiprocessing ends them with
    assert ended(pids)
    process.communicate()
