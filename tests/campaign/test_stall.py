"""When a job's silence is a stall."""

from dataclasses import replace

import pytest

from megatron_lrps.campaign.activity import Doing, What
from megatron_lrps.campaign.stall import StallJudge, stall_of
from megatron_lrps.plan.keys.alerts import Alerts

RULES = Alerts()


def training(median: float | None) -> Doing:
    return Doing(what="training", at=1000.0, iteration=700, median=median)


def test_training_has_twenty_medians_and_at_least_five_minutes() -> None:
    assert stall_of(training(0.1), RULES, 1300.0) is None
    assert str(stall_of(training(0.1), RULES, 1301.0)) == (
        "no iteration has ended for 301 s, and one takes 0.1 s; the limit is 300 s"
    )
    assert stall_of(training(60.0), RULES, 1000.0 + 1200) is None
    stall = stall_of(training(60.0), RULES, 1000.0 + 1201)
    assert stall is not None
    assert (stall.iteration, stall.limit) == (700, 1200)


@pytest.mark.parametrize("what", ["starting", "reading", "loading", "evaluating", "saving", "finishing"])
def test_what_is_no_training_has_a_limit_of_its_own(what: What) -> None:
    doing = Doing(what=what, at=1000.0, median=0.1)
    assert stall_of(doing, RULES, 1000.0 + 3600) is None
    assert stall_of(doing, RULES, 1000.0 + 3601) is not None


def test_a_first_iteration_that_compiles_has_the_limit_of_a_start() -> None:
    assert stall_of(training(None), RULES, 4000.0) is None
    assert stall_of(training(None), RULES, 4601.0) is not None


def test_nothing_is_judged_without_the_rule_or_a_report() -> None:
    assert stall_of(training(0.1), Alerts(stall=None), 1e9) is None
    assert stall_of(None, RULES, 1e9) is None
    assert stall_of(Doing(what="training"), RULES, 1e9) is None


def test_a_stall_is_told_once_and_no_clock_that_jumps_makes_one() -> None:
    judge, before, after = StallJudge(RULES), training(0.1), replace(training(0.1), at=1000.0 - 86400)
    assert judge.look(before, 50.0) is None
    assert judge.look(before, 350.0) is None
    stall = judge.look(before, 351.0)
    assert stall is not None
    assert (stall.seconds, judge.look(before, 400.0)) == (301.0, None)
    assert judge.look(after, 500.0) is None  # progress, on a clock that was set back by a day
    assert judge.look(after, 800.0) is None
    assert judge.look(after, 801.0) is not None
