"""That a tmpfs and a network namespace do what the farm wants of them, where they can be had."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import full_disk, partition
from tests.faults.full_disk import FULL, FullDisk
from tests.faults.partition import CUT, Partition


@pytest.mark.skipif(partition.missing() != "", reason="needs the right to make a network namespace")
def test_nothing_arrives_over_a_network_that_is_cut_and_nobody_is_told() -> None:
    network = Partition()
    before = (
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
        "here = socket.create_connection(server.getsockname())\nthere, _ = server.accept()\n"
        "here.send(b'x')\nassert there.recv(1) == b'x'\nthere.settimeout(1)"
    )
    after = "print(here.send(b'x'))\ntry: there.recv(1)\nexcept TimeoutError: print('lost')"
    process = subprocess.Popen(
        [*network.prefix, sys.executable, "-c", f"{before}\nprint('there', flush=True)\ninput()\n{after}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    network.arm(CUT, [process.pid])
    assert process.communicate("\n", timeout=60)[0] == "1\nlost\n"


@pytest.mark.skipif(full_disk.missing() != "", reason="needs the right to mount a tmpfs")
def test_a_disk_is_full_and_what_was_written_to_it_comes_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "paths").mkdir(parents=True)
    (run / "paths" / "old").write_text("1")
    disk = FullDisk.mounted(run)
    (run / "paths" / "new").write_text("2")
    disk.arm(FULL, [])
    with pytest.raises(OSError, match="No space left on device"):
        (run / "paths" / "late").write_bytes(bytes(100_000))
    disk.disarm()
    assert not run.is_mount()
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
    assert [(run / "paths" / name).read_text() for name in ("old", "new")] == ["1", "2"]
    assert not (run / "ballast").exists()
