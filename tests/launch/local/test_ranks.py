import os
import subprocess
import sys
from pathlib import Path

from megatron_lrps.launch.local.ranks import open_log, writers
from megatron_lrps.launch.local.tether import PARENT
from tests.launch.campaign import wait_until


def test_a_log_is_never_overwritten(tmp_path: Path) -> None:
    logs = []
    for _ in range(3):
        path, file = open_log(tmp_path)
        file.write(b"x")
        file.close()
        logs.append(path)
    assert len(set(logs)) == 3
    assert all(path.read_text() == "x" for path in logs)


def test_writers_are_the_live_processes_whose_output_is_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("w") as file:
        process = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=file)
    assert writers([log, tmp_path / "absent.log"]) == [process.pid]
    assert writers([]) == []
    process.kill()
    wait_until(lambda: writers([log]) == [])  # a zombie writes no more
    process.wait()


def test_a_tethered_process_and_its_tethered_child_die_with_their_parent(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    (tmp_path / "child.py").write_text("import time\ntime.sleep(60)\n")
    tether = [sys.executable, "-m", "megatron_lrps.launch.local.tether"]
    (tmp_path / "parent.py").write_text(f"import subprocess\nsubprocess.run({tether!r} + ['child'])\n")
    code = (
        "import os, subprocess, sys\n"
        f"os.environ[{PARENT!r}] = str(os.getpid())\n"
        f"subprocess.run({tether!r} + ['parent'], stdout=open({str(log)!r}, 'w'))\n"
    )
    executor = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    wait_until(lambda: sum("-m\0child" in Path(f"/proc/{pid}/cmdline").read_text() for pid in writers([log])) == 1)
    assert len(writers([log])) == 2
    executor.kill()
    executor.wait()
    wait_until(lambda: writers([log]) == [], seconds=5)


def test_a_tethered_process_whose_parent_is_gone_does_not_start() -> None:
    command = [sys.executable, "-m", "megatron_lrps.launch.local.tether", "this"]
    result = subprocess.run(
        command, env={**os.environ, PARENT: "1"}, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 1
    assert "process 1, which started this one, is gone" in result.stderr
