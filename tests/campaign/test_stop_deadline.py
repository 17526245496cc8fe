"""Ranks that do not stop when they are asked to are waited for only so long."""

from pathlib import Path

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.path_request import EVENTS, ask, withdraw
from megatron_lrps.campaign.record import log_event
from megatron_lrps.campaign.stop_deadline import RequestDeadline, StopDeadline, seconds_to_stop
from megatron_lrps.storage.ownership import acquire


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
    assert not deadline.is_over(8, Doing(what="saving", total=8, since=2.0), 155.1, grace=60.0)
    assert deadline.is_over(8, Doing(what="saving", total=8, since=2.0), 215.1, grace=60.0)


def test_the_deadline_of_lrps_stop_runs_while_its_request_stands_or_once_it_is_answered(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path).path("main")
    owner = acquire(folder.root, say=print).token
    deadline = RequestDeadline(folder, 10.0)
    assert deadline.look(100.0) is None
    ask(folder, "stop", holder="an earlier job")
    assert deadline.look(100.0) is None
    withdrawn = ask(folder, "stop", holder=owner)
    assert (running := deadline.look(100.0)) is not None
    assert not running.is_over(7, None, 109.0)
    assert deadline.look(109.0) is running
    withdraw(folder, withdrawn)
    assert deadline.look(110.0) is None
    answered = ask(folder, "stop", holder=owner)
    assert (running := deadline.look(200.0)) is not None
    assert not running.is_over(8, None, 209.0)
    log_event(folder, EVENTS["stop"], iteration=8, token=answered.token)
    withdraw(folder, answered)
    assert deadline.look(210.0) is running  # the ranks have saved, and have to end as well
    assert running.is_over(8, None, 219.1)
