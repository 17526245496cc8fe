"""Where a real process is, whether it can say so itself or not."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_lrps.launch.local.rank_stacks import RankPlace, dump, not_in_the_collective
from tests.launch.campaign import wait_until

RANK = """\
import time
from megatron_lrps.processes import show_stacks
show_stacks()
def in_a_long_call():
    print("ready", flush=True)
    time.sleep(100)
in_a_long_call()
"""


def place(tmp_path: Path, *, stopped: bool) -> tuple[RankPlace, str]:
    log = tmp_path / "rank.log"
    with log.open("ab") as file, subprocess.Popen([sys.executable, "-c", RANK], stdout=file, stderr=file) as process:
        try:
            wait_until(lambda: b"ready" in log.read_bytes(), seconds=60)
            if stopped:
                os.kill(process.pid, signal.SIGSTOP)
                wait_until(lambda: " T " in Path(f"/proc/{process.pid}/stat").read_text(), seconds=10)
            (found,) = dump(log, [(3, process.pid)])
        finally:
            process.kill()
    return found, log.read_text()


def test_a_rank_says_itself_where_it_is(tmp_path: Path) -> None:
    found, said = place(tmp_path, stopped=False)
    assert (found.rank, found.frames[0][2], found.waits) == (3, "in_a_long_call", False)
    assert "the stacks of rank 3" in said


@pytest.mark.skipif(shutil.which("py-spy") is None, reason="needs py-spy")
def test_a_stopped_rank_is_read_by_py_spy(tmp_path: Path) -> None:
    found, said = place(tmp_path, stopped=True)
    assert [frame[2] for frame in found.frames] == ["in_a_long_call", "<module>"]
    assert str(found).endswith(" is stopped by a signal, in in_a_long_call")
    assert "MainThread" in said


def test_without_py_spy_a_stopped_rank_is_named_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    found, _ = place(tmp_path, stopped=True)
    assert str(found) == f"rank 3 (process {found.pid}) is stopped by a signal"


def test_a_stopped_rank_keeps_the_others_waiting_wherever_it_was_stopped() -> None:
    frames = (("torch/distributed/distributed_c10d.py", "9", "all_reduce"),)
    waiting, stopped = (RankPlace(rank=at, pid=at, state=state, frames=frames) for at, state in ((0, "S"), (1, "T")))
    assert not_in_the_collective([waiting, stopped]) == [stopped]


def test_a_rank_waits_that_has_begun_a_collective_before() -> None:
    """As in the backward pass of a tensor-parallel layer, whose `handle.wait()` is torch's own code."""
    layers = importlib.util.find_spec("megatron.core.tensor_parallel.layers")
    assert layers is not None
    assert layers.origin is not None
    lines = Path(layers.origin).read_text().splitlines()
    number = next(at for at, line in enumerate(lines, 1) if line.strip() == "handle.wait()")
    for line, waits in ((number, True), (number - 1, False)):
        frames = ((layers.origin, str(line), "backward"), ("training.py", "1", "train_step"))
        assert RankPlace(rank=0, pid=1, state="S", frames=frames).waits is waits


def test_a_rank_waits_whose_wait_is_counted() -> None:
    pace = importlib.util.find_spec("megatron_lrps.training.megatron.rank_pace")
    assert pace is not None
    assert pace.origin is not None
    for name, waits in (("counted", True), ("lap", False)):
        frames = ((pace.origin, "161", name), ("training.py", "1", "train_step"))
        assert RankPlace(rank=0, pid=1, state="S", frames=frames).waits is waits
    assert "def counted(" in Path(pace.origin).read_text()
