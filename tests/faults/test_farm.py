"""The farm's own judgement, and that its page says what was recorded. The farm itself is `make soak`."""

from collections import Counter
from typing import Any

import pytest

from tests.faults.farm import TARGETS, Fault, judge
from tests.faults.page import PAGE, held, page, read_results

WHOLE = {"main": {step: 1.0 / step for step in range(1, 41)}}


def test_a_number_draws_the_same_fault_for_ever_and_all_kinds_come() -> None:
    assert Fault.drawn(7) == Fault.drawn(7)
    faults = [Fault.drawn(number) for number in range(1000)]
    cells = Counter((fault.layout, fault.save) for fault in faults)
    assert len(cells) == 6
    assert min(cells.values()) >= 160
    assert {fault.target for fault in faults} == set(TARGETS)
    assert all(fault.save == "async" for fault in faults if fault.target in ("writer", "fork server"))
    assert len({fault.layout for fault in faults[:10]}) == 1  # one campaign has time to end


@pytest.mark.parametrize(
    ("losses", "saved", "positions", "output", "found"),
    [
        ({"main": {1: 1.0, 2: 0.5}}, {}, {"main": 0}, "", {"lost": 2}),
        ({"main": {1: 1.0, 2: 0.5}}, {"main": 2}, {"main": 2}, "", {}),
        ({"main": {2: 0.5000001}}, {}, {"main": 2}, "", {"equal": False}),
        ({"main": {7: 1 / 7}}, {"main": 5}, {"main": 0}, "", {"kept": False, "lost": 7}),
        ({}, {}, {"main": 0}, "lrps: x\nTraceback (most recent call last):\n", {"traceback": True}),
    ],
)
def test_what_must_hold_is_judged(
    losses: dict[str, dict[int, float]],
    saved: dict[str, int],
    positions: dict[str, int],
    output: str,
    found: dict[str, Any],
) -> None:
    right = {"lost": 0, "kept": True, "equal": True, "traceback": False}
    assert judge(WHOLE, losses, saved, positions, output) == right | found


def result(**changed: Any) -> dict[str, Any]:
    right = {"number": 3, "layout": "TP2", "save": "sync", "target": "rank", "doing": "saving", "ended": 2.0, "left": 0}
    return {**right, "lost": 4, "kept": True, "equal": True, "traceback": False, **changed}


def test_the_page_counts_and_names_what_did_not_hold() -> None:
    text = page([result(), result(lost=9), result(number=8, ended=None, equal_at_the_end=False)])
    assert "**3 faults, 2 of them as above**. Campaigns that came to their end: 1, and 0 of them digit-equal" in text
    assert "| rank | 3 | 2 | 9 | never |" in text
    assert "| 8 | rank | saving | another loss, it did not end |" in text
    assert [held(result(**{key: value})) for key, value in (("left", 1), ("traceback", True), ("kept", False))] == [
        False,
        False,
        False,
    ]


def test_the_page_is_that_of_the_recorded_results() -> None:
    assert PAGE.read_text("utf-8") == page(read_results())
