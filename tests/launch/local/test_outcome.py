"""What an attempt at main, (0, 14], is taken for, by its checkpoints, events and log."""

import signal
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.errors import LrpsError, RefusedError, StoppedError, StorageError
from megatron_lrps.launch.local.outcome import Attempt, conclude
from megatron_lrps.launch.local.progress_display import LineDisplay, RemainingWork
from megatron_lrps.plan import PlannedPath
from megatron_lrps.schedule import Schedule, hold_for_ever
from tests.launch.campaign import TinyCampaign, campaign
from tests.launch.local.test_rank_output import REPORT

__all__ = ["campaign"]  # a fixture

MAIN = PlannedPath(name="main", kind="main", paradigm="lrps", end=14, schedule=Schedule(hold_for_ever(0)))
DISPLAY = LineDisplay([MAIN], RemainingWork({"main": 0}, {"main": 14}))


def attempt(campaign: TinyCampaign, log: str = "") -> Attempt:
    path = Path(campaign.plan.parent / "a.log")
    path.write_text(log)
    main = campaign.campaign.path("main")
    return Attempt(campaign=campaign.campaign, path=main, log=path, word=path.with_name("word"), start=5)


def raised(kind: type[LrpsError], attempt: Attempt, *history: dict[str, Any]) -> str:
    with pytest.raises(kind) as error:
        conclude(attempt, list(history), DISPLAY)
    assert type(error.value) is kind
    return str(error.value)


def test_only_a_complete_checkpoint_of_the_end_is_the_end(campaign: TinyCampaign) -> None:
    done = {"event": "done", "iteration": 14}
    assert "its ranks ended before they had begun" in raised(LrpsError, attempt(campaign))
    begun = {"event": "started", "iteration": 5}
    assert "its ranks ended before its last iteration" in raised(LrpsError, attempt(campaign), begun, done)
    campaign.save("main", 14)
    conclude(attempt(campaign), [done], DISPLAY)
    conclude(attempt(campaign), [], DISPLAY)


def test_a_failure_after_the_end_is_told(campaign: TinyCampaign, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.save("main", 14)
    conclude(attempt(campaign, REPORT.format(code=1)), [], DISPLAY)
    assert (
        "main is trained, and its last checkpoint whole; afterwards rank 1 ended with exit code 1"
        in capsys.readouterr().out
    )


def test_an_end_in_which_the_ranks_found_damage_is_none(campaign: TinyCampaign) -> None:
    campaign.save("main", 14)
    skipped, saved = ({"event": event, "iteration": 14} for event in ("skipped", "saved"))
    raised(LrpsError, attempt(campaign, REPORT.format(code=1)), skipped)
    conclude(attempt(campaign, REPORT.format(code=1)), [skipped, saved], DISPLAY)


def test_a_stop_that_saved_loses_nothing_and_one_that_did_not_says_so(campaign: TinyCampaign) -> None:
    campaign.save("main", 9)
    stopped = attempt(campaign)
    stopped.reached = 9
    event = {"event": "stopped", "reason": "duration", "iteration": 9, "exit_code": 75}
    saved = {"event": "saved", "iteration": 9}
    assert raised(StoppedError, stopped, saved, event, {"event": "other"}) == (
        "path main stopped at iteration 9 (duration); nothing is lost. "
        "Fix: run the same command to continue from iteration 9."
    )
    stopped.reached = 11
    assert "the 2 iterations after its checkpoint at 9 are lost" in raised(StoppedError, stopped, event)


def test_refusals_and_storage_errors_keep_their_words(campaign: TinyCampaign) -> None:
    text = "lr.max is 1, the checkpoint has 2. Fix: restore it."
    assert raised(RefusedError, attempt(campaign), {"event": "refused", "message": text}) == f"path main: {text}"
    assert raised(StorageError, attempt(campaign), {"event": "storage", "message": text}) == (
        f"path main: {text[:-1]}; it continues from iteration 5, and the log is {campaign.plan.parent / 'a.log'}."
    )


def test_a_rank_whose_disk_takes_neither_event_nor_log_is_understood_by_its_word(campaign: TinyCampaign) -> None:
    full = attempt(campaign, "[rank0]:  File ")  # cut off
    full.word.write_text("74 rank 0: StorageError: A write failed: Disk quota exceeded. Fix: make room.\n")
    assert raised(StorageError, full).startswith("path main: A write failed: Disk quota exceeded. Fix: make room; it ")
    full.word.write_text("1 rank 3: ValueError: no\n")
    assert "failed at iteration 5: rank 3 ended with ValueError: no; all" in raised(LrpsError, full)
    full.word.write_text("1 rank")
    assert "its ranks ended before they had begun" in raised(LrpsError, full)


def test_a_failure_that_its_rank_has_recorded_is_told_in_its_words(campaign: TinyCampaign) -> None:
    text = "The process that writes the checkpoints of rank 1 was killed by SIGKILL. Fix: find out why."
    failed = raised(LrpsError, attempt(campaign, REPORT.format(code=137)), {"event": "failed", "message": text})
    assert failed == f"path main failed at iteration 5: {text}"


def test_ranks_that_left_no_event_are_known_by_their_exit_code(campaign: TinyCampaign) -> None:
    log = "loading\nlrps: --lr is 1, the plan has 2. Fix: drop it.\nmore\n"
    refused = attempt(campaign, log + REPORT.format(code=78))
    assert raised(RefusedError, refused) == "path main: --lr is 1, the plan has 2. Fix: drop it."
    full = attempt(campaign, "OSError: No space left on device\n" + REPORT.format(code=74))
    assert raised(StorageError, full).startswith("path main: OSError: No space left on device")
    assert "path main stopped at iteration 5" in raised(StoppedError, attempt(campaign, REPORT.format(code=75)))


def test_a_rank_that_the_request_itself_ended_has_not_failed(campaign: TinyCampaign) -> None:
    early = attempt(campaign, REPORT.format(code=-signal.SIGUSR2))
    assert "was ended by signal 12" in raised(LrpsError, early)
    early.asked = signal.SIGUSR2
    assert "stopped at iteration 5, before its ranks could save; nothing is lost" in raised(StoppedError, early)
    crashed = attempt(campaign, REPORT.format(code=1))
    crashed.asked = signal.SIGUSR2
    assert "rank 1 ended with exit code 1" in raised(LrpsError, crashed)


def test_what_a_kill_loses_is_counted_from_the_last_checkpoint(campaign: TinyCampaign) -> None:
    killed = attempt(campaign, REPORT.format(code=-9))
    killed.asked, killed.killed, killed.reached = signal.SIGUSR2, True, 8
    assert "killed at iteration 8; the 3 iterations after its checkpoint at 5 are lost" in raised(StoppedError, killed)
