"""What a process has started ends with it and not before: by ``-m``, fork, spawn or a fork server."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from megatron_lrps.launch.local.ranks import writers
from megatron_lrps.processes import PARENT
from tests.launch.campaign import wait_until

SCRIPT = """
import multiprocessing, os, sys, time
from megatron_lrps.processes import tie_children

def sleep(pids):
    pids.put(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    tie_children()
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
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
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


def test_a_tied_process_and_its_tied_child_die_with_their_parent(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    (tmp_path / "child.py").write_text("import time\ntime.sleep(60)\n")
    tied = [sys.executable, "-m", "megatron_lrps.processes"]
    (tmp_path / "parent.py").write_text(f"import subprocess\nsubprocess.run({tied!r} + ['child'])\n")
    code = (
        "import os, subprocess, sys\n"
        f"os.environ[{PARENT!r}] = str(os.getpid())\n"
        f"subprocess.run({tied!r} + ['parent'], stdout=open({str(log)!r}, 'w'))\n"
    )
    executor = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    wait_until(lambda: sum("-m\0child" in Path(f"/proc/{pid}/cmdline").read_text() for pid in writers([log])) == 1)
    assert len(writers([log])) == 2
    executor.kill()
    executor.wait()
    wait_until(lambda: writers([log]) == [], seconds=5)


def test_a_tied_process_whose_parent_is_gone_does_not_start() -> None:
    command = [sys.executable, "-m", "megatron_lrps.processes", "this"]
    result = subprocess.run(
        command, env={**os.environ, PARENT: "1"}, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 1
    assert "process 1, which started this one, is gone" in result.stderr
