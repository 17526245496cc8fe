"""The executor over real processes: torchrun and two ranks a path, which only pretend to train (fake_pretrain)."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from megatron_lrps.campaign.record import events
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.local import train
from megatron_lrps.launch.local.ranks import writers
from tests.conftest import Lrps
from tests.launch.campaign import TinyCampaign, campaign, wait_until

__all__ = ["campaign"]  # a fixture


def started(campaign: TinyCampaign, path: str) -> list[int]:
    return [event["iteration"] for event in events(campaign.folder(path)) if event["event"] == "started"]


def test_parents_come_first_and_what_is_trained_is_not_trained_again(campaign: TinyCampaign) -> None:
    code, stdout, stderr = campaign.run()
    assert (code, stderr) == (0, "")
    # Those come by the clock.
    lines = [line for line in stdout.splitlines() if ": iteration " not in line and ": starting, for " not in line]
    assert [line.split(";")[0] for line in lines] == [
        "main: training (0, 14]",
        "main: trained to iteration 14",
        "v1: training (4, 10]",
        "v1: trained to iteration 10",
        "v2: training (14, 20]",
        "v2: trained to iteration 20",
    ]
    assert lines[0].endswith("26 iterations left in all")  # 14 + 6 + 6
    assert lines[-1].endswith("0 iterations left in all")
    assert [started(campaign, path) for path in ("main", "v1", "v2")] == [[0], [4], [14]]
    first = events(campaign.folder("v1"))[0]
    assert first["argv"] == [
        "--lrps-plan",
        str(campaign.plan.parent / "runs" / "plan.yaml"),
        "--lrps-path",
        "v1",
        "--lrps-cpu",
    ]
    assert (first["world"], first["threads"]) == (2, "1")

    code, stdout, _ = campaign.run()
    assert (code, stdout) == (0, "All 3 paths of campaign tiny are trained; there is nothing to do.\n")
    code, stdout, _ = campaign.run("--path", "v1")
    assert (code, stdout) == (0, "Path v1 is trained; there is nothing to do.\n")
    assert [len(list(campaign.folder(path).logs.glob("*.log"))) for path in ("main", "v1", "v2")] == [1, 1, 1]


def test_an_evaluation_is_told_from_a_hang(campaign: TinyCampaign, lrps: Lrps) -> None:
    executor = campaign.start("--path", "main", mode="evaluate")
    campaign.wait_for("main", 8)
    wait_until(lambda: (campaign.folder("main").root / "doing.json").exists())
    assert "\nmain  evaluating v1-web (12 of 40)  " in lrps("status", campaign.plan).stdout
    time.sleep(1.0)  # the executor looks five times a second
    executor.send_signal(signal.SIGINT)
    stdout, stderr = executor.communicate(timeout=300)
    assert "main: stopping; its ranks are evaluating v1-web (12 of 40), and save then. To" in stdout
    assert executor.returncode == 75, stderr
    assert "\nmain  stopped at 8 of 14 (Ctrl-C or a signal)  " in lrps("status", campaign.plan).stdout


def test_a_layout_that_cannot_train_starts_no_rank(campaign: TinyCampaign) -> None:
    campaign.plan.write_text(campaign.plan.read_text().replace("global_batch_size: 8", "global_batch_size: 7"))
    code, _, stderr = campaign.run()
    assert code == 78
    assert "lrps: global_batch_size: 7 is not a multiple of micro-batch-size 1 x 2 data-parallel replicas" in stderr
    assert list(campaign.folder("main").logs.glob("*.log")) == []


def test_ctrl_c_saves_and_the_same_command_continues(campaign: TinyCampaign) -> None:
    executor = campaign.start("--path", "main", seconds=0.2)
    campaign.wait_for("main", 2)
    executor.send_signal(signal.SIGINT)
    stdout, stderr = executor.communicate(timeout=300)
    assert executor.returncode == 75
    assert "main: stopping" in stdout
    saved = campaign.saved("main")[-1]
    assert 2 <= saved < 14
    assert f"path main stopped at iteration {saved} (signal); nothing is lost." in stderr
    assert f"run the same command to continue from iteration {saved}." in stderr
    assert not campaign.processes()

    assert campaign.run("--path", "main")[0] == 0
    assert started(campaign, "main") == [0, saved]
    assert len(list(campaign.folder("main").logs.glob("*.log"))) == 2


def test_ctrl_c_twice_kills_and_says_what_is_lost(campaign: TinyCampaign) -> None:
    executor = campaign.start("--path", "main", mode="hang")
    campaign.wait_for("main", 7)
    executor.send_signal(signal.SIGINT)
    assert executor.stdout is not None
    assert next(line for line in executor.stdout if "stopping" in line).endswith(
        "what they trained after iteration 5 is lost then\n"
    )
    executor.send_signal(signal.SIGINT)
    _, stderr = executor.communicate(timeout=300)
    assert executor.returncode == 75
    assert "path main was killed at iteration 7; the 2 iterations after its checkpoint at 5 are lost." in stderr
    assert not campaign.processes()


def test_ranks_that_hang_are_killed_after_one_request_and_what_is_lost_is_said(campaign: TinyCampaign) -> None:
    campaign.plan.write_text(campaign.plan.read_text().replace("processes: 2", "processes: 2, stop_timeout: 1"))
    executor = campaign.start("--path", "main", mode="hang")
    campaign.wait_for("main", 7)
    executor.send_signal(signal.SIGTERM)
    stdout, stderr = executor.communicate(timeout=60)
    assert executor.returncode == 75
    assert (
        "main: its ranks have made no progress for 1 s since they were asked to save and stop; they are killed"
        in stdout
    )
    assert (
        "path main was asked to save and stop, made no progress for 1 s, and was killed at iteration 7; the 2 "
        "iterations after its checkpoint at 5 are lost. Fix: run the same command to continue from iteration 5."
        in stderr
    )
    assert not campaign.processes()


def test_sigterm_before_there_is_a_rank_ends_at_once(campaign: TinyCampaign) -> None:
    executor = campaign.start("--path", "main")
    assert executor.stdout is not None
    assert executor.stdout.readline().startswith("main: training")
    executor.terminate()
    _, stderr = executor.communicate(timeout=300)
    assert executor.returncode == 75
    assert "nothing is lost. Fix: run the same command to continue from iteration 0." in stderr
    assert not campaign.processes()


def test_a_failed_rank_fails_the_run_with_its_last_words(campaign: TinyCampaign) -> None:
    code, stdout, stderr = campaign.run(mode="fail")
    assert code == 1
    (log,) = campaign.folder("main").logs.glob("*.log")
    assert "path main failed at iteration 7: rank 1 ended with exit code 1;" in stderr
    assert str(log) in stderr
    assert stderr.endswith("run the same command to continue from iteration 5.\n")
    assert stdout.splitlines()[-1] == "  RuntimeError: the loss of this rank is not finite"
    assert not events(campaign.folder("v1"))


@pytest.mark.parametrize(("mode", "exit_code"), [("refused", 78), ("storage", 74)])
def test_what_the_ranks_refuse_is_passed_on(campaign: TinyCampaign, mode: str, exit_code: int) -> None:
    code, _, stderr = campaign.run(mode=mode)
    assert code == exit_code
    assert "lrps: path main: lr.max is 1, the checkpoint has 2. Fix: restore it" in stderr


def test_an_executor_has_its_path_alone_and_leaves_no_rank_when_it_is_killed(campaign: TinyCampaign) -> None:
    executor = campaign.start("--path", "main", mode="hang")
    campaign.wait_for("main", 7)
    ranks = writers(campaign.folder("main").logs.glob("*.log"))
    assert len(ranks) == 3  # torchrun and two ranks

    code, _, stderr = campaign.run("--path", "main")
    assert code == 78
    assert f"path main is being written by process {executor.pid} on " in stderr
    assert writers(campaign.folder("main").logs.glob("*.log")) == ranks

    executor.kill()
    wait_until(lambda: not campaign.processes(), seconds=5)
    assert campaign.run("--path", "main")[0] == 0
    assert started(campaign, "main") == [0, 5]


def test_training_goes_on_when_nobody_reads_the_progress(campaign: TinyCampaign) -> None:
    executor = campaign.start("--path", "main", seconds=0.05)
    assert executor.stdout is not None
    executor.stdout.close()  # as of `lrps run PLAN | tee log` when tee has gone
    assert executor.wait(timeout=300) == 0
    assert campaign.saved("main")[-1] == 14


def test_ranks_that_outlived_their_executor_are_not_joined(
    campaign: TinyCampaign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "_LEFTOVER_S", 0.1)
    logs = campaign.folder("main").logs
    logs.mkdir(parents=True)
    with (logs / "20261124T040000Z.log").open("w") as log:
        rank = subprocess.Popen(["sleep", "60"], stdout=log)
    try:
        with pytest.raises(RefusedError, match=rf"path main is still written by process {rank.pid};"):
            train.train(campaign.campaign, [campaign.campaign.path("main")], Silent(), module="none")
    finally:
        rank.kill()
        rank.wait()


class Silent:
    """A display for what must not be reached."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the display was used: {name}")


def test_a_background_executor_still_ignores_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop = train.StopSignals()
        with stop.listening():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.count == 1
    finally:
        signal.signal(signal.SIGINT, before)
