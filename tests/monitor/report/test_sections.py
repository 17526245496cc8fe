"""Throughput, gradient norm and GPU-hours on the report."""

import math
from typing import Any

import pytest

from megatron_lrps.monitor.printed_figures import Printed
from megatron_lrps.monitor.report.sections import pace
from megatron_lrps.monitor.scalars import Point


def rows(found: dict[str, Any]) -> list[list[str]]:
    return [["-" if cell is None else cell for cell in row] for row in found["rows"]]


def test_nothing_yet():
    assert not pace({"main": {}, "v1": {}}, {"main": Printed()}, gpus=True)["rows"]


def test_what_was_logged_counts_else_what_was_printed():
    norms = [(i, float(i)) for i in range(1, 10)]
    printed = {"iteration-time": [Point(3, 2.0, 0.0), Point(4, 4.0, 0.0), Point(5, 2.5, 0.0)]}
    runs = {
        "main": {"grad-norm": norms, "throughput": [(1, 400.0), (2, 420.0)], "iteration-time": [(1, 0.5)]},
        "v1": {"lm loss": [(1, 3.0)]},
        "v2": {},
    }
    logs = {"main": Printed(points=printed, rank_hours=8.0), "v1": Printed(points=printed, rank_hours=2.25)}
    found = pace(runs, logs, gpus=True)
    assert rows(found) == [
        ["main", "7.000", "9.000", "0.500", "410.0", "8.00"],  # the median of 5 ... 9
        ["v1", "-", "-", "2.500", "-", "2.25"],
        ["all", "-", "-", "-", "-", "10.25"],
    ]
    assert found["rank"] == "GPU"


def test_small_figures_are_no_zeros():
    # Megatron prints a digit after the point, and logs all of them.
    printed = {"throughput": [Point(step, 0.0, 0.0) for step in (3, 4, 5)]}
    logs = {name: Printed(points=printed, rank_hours=0.0031) for name in ("main", "v1")}
    found = pace({"main": {"throughput": [(1, 0.0042)]}, "v1": {}}, logs, gpus=False)
    assert rows(found) == [
        ["main", "-", "-", "-", "0.0042", "0.0031"],
        ["v1", "-", "-", "-", "below 0.05", "0.0031"],
        ["all", "-", "-", "-", "-", "0.0062"],
    ]
    assert found["rank"] == "rank"  # of a CPU


def test_what_is_not_finite_is_said_and_is_in_no_median():
    tail = [6.0, math.nan, 8.0, math.inf, 7.0]
    runs = {
        "main": {"grad-norm": [*enumerate([90.0, *tail])], "iteration-time": [(1, 0.5), (2, math.nan), (3, 0.75)]},
        "v1": {"grad-norm": [*enumerate([math.nan] * 7)]},
        "v2": {"grad-norm": [(0, math.nan), *enumerate([1.0] * 5, 1)]},
    }
    assert [row[1:4] for row in rows(pace(runs, {}, gpus=True))] == [
        ["7.000, 2 of the last 5 not finite", "not finite", "0.625, 1 of 3 not finite"],
        ["5 of the last 5 not finite", "not finite", "-"],
        ["1.000", "not finite", "-"],
        ["-", "-", "-"],
    ]


@pytest.mark.parametrize("gpus", [True, False])
def test_hours_that_one_log_does_not_say_have_no_sum(gpus):
    norms = {"grad-norm": [(1, 1.0)]}
    found = pace({"main": norms, "v1": norms}, {"main": Printed(rank_hours=8.0)}, gpus=gpus)
    assert [row[-1] for row in rows(found)] == ["8.00", "-", "-"]
    assert found["rank"] == ("GPU" if gpus else "rank")
