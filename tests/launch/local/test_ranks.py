import subprocess
from pathlib import Path

from megatron_lrps.launch.local.ranks import open_log, writers
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
