"""The rules of alerts, on series whose medians a reader can work out."""

import json
import math
import random
from collections.abc import Iterable

import pytest

from megatron_lrps.plan.keys.alerts import Alerts
from megatron_lrps.training.alert_rules import Alert, RecentValues, Watcher


def see(rules: Alerts, losses: Iterable[float | None], norms: Iterable[float | None] = ()) -> list[Alert]:
    watcher, rest = Watcher(rules), iter(norms)
    return [
        alert
        for iteration, loss in enumerate(losses, 1)
        for alert in watcher.see(iteration, loss, next(rest, None), skipped=False)
    ]


def test_a_window_keeps_the_median_of_its_last_values() -> None:
    window = RecentValues(5)
    for value in (9, 1, 2, 3, 4):
        window.add(value)
    assert (window.median, window.deviation) == (3, 1)  # 1 2 3 4 9: deviations 0 1 1 2 6
    window.add(5)  # the 9 goes
    assert (window.median, window.full, len(window)) == (3, True, 5)
    numbers = random.Random(1)
    values = [numbers.choice([1.0, 2.0, 2.0, 3.5]) for _ in range(200)]
    for value in values:
        window.add(value)
    assert window.median == sorted(values[-5:])[2]


def test_a_spike_is_8_robust_deviations_above_the_median() -> None:
    # Sorted 2.0 x 6, 2.1 x 4, 2.2 x 6: median 2.1, and 12 of the 16 absolute deviations are 0.1.
    quiet = [2.0, 2.2, 2.1, *[2.0, 2.2] * 5, 2.1, 2.1, 2.1]
    limit = 2.1 + 8 * 0.14826
    assert not see(Alerts(window=16), [*quiet, limit - 0.01])
    (alert,) = see(Alerts(window=16), [*quiet, limit + 0.01])
    assert (alert.kind, alert.iteration) == ("loss_spike", 17)
    assert alert.values == pytest.approx({"loss": limit + 0.01, "median": 2.1, "sigma": 0.14826})
    assert alert.message == "the loss is 3.296, 8.07 standard deviations above 2.1"
    assert not see(Alerts(window=16, loss_spike=None), [*quiet, 10.0])


def test_a_loss_that_does_not_move_has_a_least_deviation_of_half_a_percent() -> None:
    flat = [2.0] * 32
    assert not see(Alerts(window=32), [*flat, 2.079])
    (alert,) = see(Alerts(window=32), [*flat, 2.081])  # 8 x 0.01 above
    assert alert.values["sigma"] == pytest.approx(0.01)


def test_nothing_is_judged_before_a_quarter_of_the_window() -> None:
    assert not see(Alerts(window=16), [2.0, 2.0, 2.0, 50.0])
    assert see(Alerts(window=16), [2.0, 2.0, 2.0, 2.0, 50.0])[0].iteration == 5


def test_one_spike_does_not_hide_the_next_and_a_new_level_is_soon_no_spike() -> None:
    spikes = see(Alerts(window=16, divergence=None), [*[2.0] * 16, 9.0, *[2.0] * 4, 9.0])
    assert [alert.iteration for alert in spikes] == [17, 22]
    level = see(Alerts(window=16, divergence=None), [*[2.0] * 16, *[3.0] * 30])
    assert [alert.iteration for alert in level] == list(range(17, 25))  # until half of the window is 3.0


def test_divergence_is_the_median_above_the_lowest_it_has_been() -> None:
    rules = Alerts(window=8, loss_spike=None, divergence=0.5)
    falling = [4 - 0.01 * i for i in range(100)]
    assert not see(rules, falling)
    alerts = see(rules, [*falling, *[3.6] * 8])
    assert [alert.kind for alert in alerts] == ["divergence"] * 5  # once four of eight are 3.6, the median is
    assert alerts[0].iteration == 104
    assert alerts[0].values == pytest.approx({"median": 3.6, "best": 4 - 0.01 * 95})  # of 3.08 ... 3.01 the upper


def test_a_gradient_norm_is_judged_by_its_median() -> None:
    rules = Alerts(window=8)
    assert not see(rules, [], [])
    nothing: list[float | None] = [None] * 9
    assert not see(rules, nothing, [*[0.5] * 8, 5.0])  # 10 times is not above it
    (alert,) = see(rules, nothing, [*[0.5] * 8, 5.5])
    assert (alert.kind, alert.message) == ("grad_norm", "the gradient norm is 5.5, 11 times its median 0.5")


def test_what_is_not_finite_is_an_alert_at_once_and_no_part_of_a_median() -> None:
    (alert,) = see(Alerts(), [math.nan])
    assert (alert.kind, alert.values) == ("not_finite", {"loss": "nan"})
    both = see(Alerts(window=8), [*[2.0] * 8, math.inf], [*[1.0] * 8, math.nan])
    assert [alert.kind for alert in both] == ["not_finite"]
    assert both[0].message == "the loss is inf and the gradient norm is nan"
    assert not see(Alerts(not_finite=False), [math.nan])


def test_a_watcher_goes_on_from_its_memory() -> None:
    rules = Alerts(window=8, loss_spike=None)
    first, after = Watcher(rules), Watcher(rules)
    for iteration in range(20):
        first.see(iteration, 2.0, 1.0, skipped=False)
    after.recall(json.loads(json.dumps(first.memory())))
    later = [after.see(iteration, 3.0, 11.0, skipped=False) for iteration in range(20, 24)]
    assert [[alert.kind for alert in alerts] for alerts in later] == [["grad_norm"]] * 3 + [["divergence", "grad_norm"]]
    for torn in ({}, {"window": 8, "losses": ["x"], "norms": [], "best": None, "skipped": 0}, {"window": 16}):
        fresh = Watcher(rules)
        fresh.recall({**first.memory(), **torn} if torn else torn)
        assert fresh.memory()["losses"] == []


def test_skipped_iterations_are_counted_in_a_row() -> None:
    watcher = Watcher(Alerts(skipped=3))
    row = [True, True, False, True, True, True, True]
    found = [watcher.see(i, 2.0, None, skipped=skipped) for i, skipped in enumerate(row, 1)]
    assert [alert.iteration for alerts in found for alert in alerts] == [6, 7]
    assert found[5][0].message == "the optimizer has skipped 3 iterations in a row"


def test_a_run_that_learns_raises_nothing() -> None:
    """40,000 iterations of a power law with 2 % of noise, and a norm that falls: no false alarm at the defaults."""
    numbers = random.Random(3)
    losses = [1.8 + 8 * i**-0.35 + numbers.gauss(0, 0.04) for i in range(1, 40_001)]
    norms = [0.3 + 20 / i + abs(numbers.gauss(0, 0.1)) for i in range(1, 40_001)]
    assert not see(Alerts(), losses, norms)
