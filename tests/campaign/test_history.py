"""A path's history in few lines."""

from typing import Any

import pytest

from megatron_lrps.campaign.history import UNRECORDED, HistoryLine, condense


def at(minute: int, event: Any, **fields: Any) -> dict[str, Any]:
    return {"time": f"2026-11-24T05:{minute:02}:00+00:00", "event": event, **fields}


def said(*events: dict[str, Any]) -> list[str]:
    return [str(entry) for entry in condense(events)]


def test_a_path_from_its_fork_to_its_end() -> None:
    history = [
        at(0, "refused", message="The fork point is not there. Fix: train main.", exit_code=78),
        at(1, "started", iteration=400, forked=True, checkpoint="main/iter_0000400"),
        at(2, "saved", iteration=600),
        at(3, "stopped", reason="signal", iteration=640, exit_code=75),
        at(4, "skipped", iteration=640, reason="common.pt cannot be read"),
        at(5, "started", iteration=600, forked=False, checkpoint="v1/iter_0000600"),
        at(6, "storage", message="the disk is full", exit_code=74),
        at(7, "deleted", iteration=600, reason="nothing needs it"),
        at(8, "done", iteration=1000),
    ]
    assert said(*history) == [
        "refused: The fork point is not there. Fix: train main.",
        "forked at 400",
        "stopped at 640: signal",
        "skipped checkpoint 640: common.pt cannot be read",
        "resumed at 600",
        "storage failed: the disk is full",
        "done at 1,000",
    ]
    forked = condense(history)[1]
    assert forked == HistoryLine(
        time="2026-11-24T05:01:00+00:00", last_time="2026-11-24T05:01:00+00:00", event="forked", iteration=400
    )


def test_from_scratch() -> None:
    assert said(at(0, "started", iteration=0, forked=False, checkpoint="scratch")) == ["started from scratch"]


def test_a_run_that_was_killed_left_no_word() -> None:
    starts = [at(minute, "started", iteration=200 * minute, forked=False) for minute in range(3)]
    assert said(*starts) == ["started from scratch", f"resumed at 200: {UNRECORDED}", f"resumed at 400: {UNRECORDED}"]
    ended = [starts[0], at(5, "failed", message="nan"), starts[1]]
    assert said(*ended) == ["started from scratch", "failed: nan", "resumed at 200"]


def test_the_same_over_and_over_is_one_line() -> None:
    refused = [at(minute, "refused", message="held by job 7") for minute in range(50)]
    (entry,) = condense(refused)
    assert (entry.time, entry.last_time, entry.times) == (
        "2026-11-24T05:00:00+00:00",
        "2026-11-24T05:49:00+00:00",
        50,
    )
    assert str(entry) == "refused: held by job 7 (50 times, last 2026-11-24T05:49:00+00:00)"
    assert len(condense([*refused, at(51, "started", iteration=0), *refused])) == 3


def test_what_later_versions_record_is_shown_by_its_name() -> None:
    assert said(at(0, "promoted", iteration=1000, reason="for the paper")) == ["promoted at 1,000: for the paper"]


@pytest.mark.parametrize("junk", [None, True, -1, 10**4000, 1.5, [], {}])
def test_what_has_the_wrong_type_is_left_out(junk: Any) -> None:
    assert condense([{}, {"event": junk}]) == []
    event = {"time": junk, "event": "stopped", "iteration": junk, "reason": junk}
    assert condense([event]) == [HistoryLine(time=None, last_time=None, event="stopped")]
    started = {"event": "started", "iteration": junk, "forked": junk}
    assert condense([started])[0].event == ("forked" if junk is True else "started")


def test_an_adopted_run_is_no_fork() -> None:
    first = at(1, "started", iteration=100, forked=True, adopted=True, checkpoint="stock/iter_0000100")
    assert said(first, at(2, "started", iteration=200, forked=False)) == [
        "adopted a run at 100",
        f"resumed at 200: {UNRECORDED}",
    ]
    assert condense([first])[0].event == "adopted"
