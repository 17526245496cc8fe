"""A rank that was started by other means than `lrps run`, and cannot stop when it is asked, ends itself."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.record import events
from megatron_lrps.processes import PARENT
from tests.conftest import Lrps
from tests.training.campaigns import ENTRY, run_ranks, write_campaign
from tests.training.ranks import started_ranks

pytestmark = pytest.mark.training

SOON = "from megatron_lrps.training import overdue_stop; overdue_stop.GRACE_S = 0.0\n"
HANGING = """
import ctypes, os, threading
from megatron_lrps.training.session import Session
iterated = Session.decide_exit

def lock_twice():
    lock = ctypes.create_string_buffer(64)
    libc = ctypes.PyDLL(None)  # which keeps the interpreter's lock
    libc.pthread_mutex_lock(lock), libc.pthread_mutex_lock(lock)

def decide_exit(self, iteration, **given):
    exits = iterated(self, iteration, **given)
    if iteration == 7 and os.environ["RANK"] == os.environ["HANGS"]:
        print("it hangs", flush=True)
        {how}
    return exits

Session.decide_exit = decide_exit
"""
QUEUE = "import multiprocessing; queue = multiprocessing.JoinableQueue(); queue.put(1); queue.join()"


def plan_of(folder: Path, *, timeout: int = 2) -> Path:
    """A plan whose main path saves at iteration 5."""
    plan = write_campaign(folder)
    text = plan.read_text().replace("iters: 8", "iters: 8000").replace("save-interval: 100", "save-interval: 5")
    plan.write_text(text.replace("local: {", f"local: {{stop_timeout: {timeout}, "))
    return plan


def wait_for(said: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def main_of(plan: Path) -> PathFolder:
    return CampaignFolder(plan.parent / "run").path("main")


ARGUMENTS = ["--lrps-path", "main", "--lrps-cpu"]


def test_one_that_waits_for_ever_after_a_signal_says_what_is_lost_and_ends_with_75(tmp_path: Path) -> None:
    plan, logs = plan_of(tmp_path), [tmp_path / "rank0.log", tmp_path / "rank1.log"]
    for log in logs:
        log.touch()
    code = SOON + HANGING.format(how=QUEUE) + ENTRY
    with started_ranks(code, ["--lrps-plan", str(plan), *ARGUMENTS], logs, env={"HANGS": "1"}) as ranks:
        wait_for(lambda: "it hangs" in logs[1].read_text())
        wait_for(lambda: " iteration        7/" in logs[1].read_text())
        asked = time.monotonic()
        for rank in ranks:
            assert rank.pid is not None
            os.kill(rank.pid, signal.SIGTERM)
        for rank in ranks:
            rank.join(30)
        assert 2 < time.monotonic() - asked < 30
        said = [log.read_text() for log in logs]
        assert [rank.exitcode for rank in ranks] == [75, 75], said
    assert "in join" in said[1].split("it hangs")[1]  # the stacks
    assert "torch/distributed/" in said[0].split("(most recent call first)")[-1]
    assert (
        "lrps: rank 0 has made no progress for 2 s since it was asked to save and stop: it ends, and the 2 iterations "
        "after its checkpoint at 5 are lost" in said[0]
    )
    assert "lrps: rank 1 has made no progress for 2 s since it was asked to save and stop: it ends\n" in said[1]
    *_, last = events(main_of(plan))
    assert {key: last[key] for key in ("event", "reason", "iteration", "saved", "exit_code")} == {
        "event": "stopped", "reason": "signal", "iteration": 7, "saved": 5, "exit_code": 75
    }  # fmt: skip


@pytest.mark.parametrize("asked", ["by a signal", "by lrps stop"])
def test_one_that_keeps_the_interpreters_lock_is_killed(tmp_path: Path, lrps: Lrps, asked: str) -> None:
    plan, log = plan_of(tmp_path), tmp_path / "log"
    log.touch()
    code = SOON + HANGING.format(how="lock_twice()") + ENTRY
    with started_ranks(code, ["--lrps-plan", str(plan), *ARGUMENTS], [log], env={"HANGS": "0"}) as (rank,):
        wait_for(lambda: "it hangs" in log.read_text())
        assert rank.pid is not None
        if asked == "by a signal":
            os.kill(rank.pid, signal.SIGUSR2)
        else:
            stopped, _, stderr = lrps("stop", plan)
            assert stopped == 78
            assert "main's job ended before it saved" in stderr
        rank.join(30)
        assert rank.exitcode == -signal.SIGKILL
    said = log.read_text().split("it hangs")[1]
    assert "in lock_twice" in said
    assert "lrps: rank 0 was asked to save and stop, and for 2 s none of its threads has run: it is killed" in said


def test_one_that_hangs_after_lrps_stop_says_what_is_lost_on_both_sides(tmp_path: Path, lrps: Lrps) -> None:
    plan, log = plan_of(tmp_path), tmp_path / "log"
    log.touch()
    code = SOON + HANGING.format(how="threading.Event().wait()") + ENTRY
    with started_ranks(code, ["--lrps-plan", str(plan), *ARGUMENTS], [log], env={"HANGS": "0"}) as (rank,):
        wait_for(lambda: "it hangs" in log.read_text())
        stopped, _, stderr = lrps("stop", plan)
        rank.join(30)
        assert (rank.exitcode, stopped) == (75, 75), log.read_text()
    assert "it ends, and the 2 iterations after its checkpoint at 5 are lost" in log.read_text()
    assert "made no progress for 2 s after the request and were killed at iteration 7; the 2 iterations" in stderr
    assert "stopped at 5 of" in lrps("status", plan).stdout
    assert not (main_of(plan).root / "stop.json").exists()


def test_one_that_saves_in_its_time_is_not_ended(tmp_path: Path) -> None:
    """Nor one that evaluates; its progress counts as long as it goes on."""
    plan, log = plan_of(tmp_path, timeout=6), tmp_path / "log"
    log.touch()
    slow = """
import time
from megatron_lrps.training.session import Session
save = Session.save

def slowly(self, iteration, write, *, persistent):
    def wait():
        if iteration > 5:
            time.sleep(4)
            self.activity.tell("evaluating", name="a", done=1)  # as each step of an evaluation
            time.sleep(4)
        return write()
    return save(self, iteration, wait, persistent=persistent)

Session.save = slowly
"""
    with started_ranks(SOON + slow + ENTRY, ["--lrps-plan", str(plan), *ARGUMENTS], [log]) as (rank,):
        wait_for(lambda: " iteration        7/" in log.read_text())
        assert rank.pid is not None
        os.kill(rank.pid, signal.SIGTERM)
        rank.join(60)
        assert rank.exitcode == 75, log.read_text()
    assert "no progress" not in log.read_text()
    *_, last = events(main_of(plan))
    assert (last["event"], last["reason"]) == ("stopped", "signal")
    assert last["iteration"] >= 7


def test_ranks_of_lrps_run_leave_it_to_lrps_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    children = """
import atexit, os
from pathlib import Path
atexit.register(lambda: print("children:", [Path(f"/proc/{pid}/cmdline").read_text().split("\\0")[-8:] for pid in
    Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]))
"""
    arguments = ["--lrps-plan", str(plan), *ARGUMENTS, "--lrps-until", "4"]
    alone = run_ranks(arguments, cwd=tmp_path, code=children + ENTRY)
    assert alone.codes == [0]
    assert "megatron_lrps.training.stop_relay" in alone.log
    under = run_ranks([*arguments[:-1], "5"], cwd=tmp_path, code=children + ENTRY, env={PARENT: str(os.getpid())})
    assert under.codes == [0]
    assert "children: " in under.log
    assert "stop_relay" not in under.log
