"""Ranks that do not stop when they are asked to are waited for only so long."""

import signal

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.launch.stop_deadline import StopDeadline, seconds_to_stop
from tests.launch.campaign import TinyCampaign, campaign

__all__ = ["campaign"]  # a fixture


def test_the_longest_save_so_far_decides_unless_the_plan_does() -> None:
    assert seconds_to_stop(None, []) == 1200
    saves = [{"event": "saved", "seconds": seconds} for seconds in (40.0, 90.0, 60)]
    assert seconds_to_stop(None, [*saves, {"event": "saved"}, {"event": "saved", "seconds": "9999"}]) == 2 * 90 + 300
    assert seconds_to_stop(7.5, saves) == 7.5


def test_any_progress_begins_the_time_anew() -> None:
    deadline = StopDeadline(10.0, 100.0)
    assert not deadline.is_over(7, None, 109.0)
    assert not deadline.is_over(8, None, 118.0)
    evaluating = [Doing(what="evaluating", name="web", done=done, total=9, since=1.0) for done in (1, 2)]
    assert not deadline.is_over(8, evaluating[0], 127.0)
    assert not deadline.is_over(8, evaluating[1], 136.0)
    assert not deadline.is_over(8, Doing(what="saving", total=8, since=2.0), 145.0)
    assert not deadline.is_over(8, Doing(what="saving", total=8, since=2.0), 155.0)
    assert deadline.is_over(8, Doing(what="saving", total=8, since=2.0), 155.1)


def test_ranks_that_hang_are_killed_after_one_request_and_what_is_lost_is_said(campaign: TinyCampaign) -> None:
    campaign.plan.write_text(campaign.plan.read_text().replace("processes: 2", "processes: 2, stop_timeout: 1"))
    executor = campaign.start("--path", "main", mode="hang")
    campaign.wait_for("main", 7)
    executor.send_signal(signal.SIGTERM)
    stdout, stderr = executor.communicate(timeout=60)
    assert executor.returncode == 75
    assert "main: its ranks have made no progress for 1 s; they are killed" in stdout
    assert (
        "path main was asked to save and stop, made no progress for 1 s, and was killed at iteration 7; the 2 "
        "iterations after its checkpoint at 5 are lost. Fix: run the same command to continue from iteration 5."
        in stderr
    )
    assert not campaign.processes()
