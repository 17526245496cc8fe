"""The report's section on throughput and gradient norm: what was logged, else what was printed."""

import math
from collections.abc import Mapping

from megatron_lrps.monitor.report.html import Markup, Part, join, table, tag
from megatron_lrps.monitor.scalars import Series, median_words
from megatron_lrps.monitor.tensorboard.printed_figures import SECONDS, THROUGHPUT, Printed
from megatron_lrps.monitor.text_table import number_words

NORM = "grad-norm"
LOGGED = (NORM, THROUGHPUT, SECONDS)
"""Tags that the section is made from."""
LAST = 5
"""Gradient norms whose median is a path's latest."""


def pace(runs: Mapping[str, Mapping[str, Series]], printed: Mapping[str, Printed], *, gpus: bool) -> Markup:
    """How fast each path trained, how steadily, and what it took.

    Args:
        runs: Path -> tag -> what it logged.
        printed: Path -> what its logs say.
        gpus: Whether a rank is a GPU.
    """
    rows: list[tuple[Part, ...]] = []
    hours: list[float | None] = []
    for name, run in runs.items():
        said = printed.get(name, Printed())
        norms = [value for _, value in run.get(NORM, [])]
        # max() would take a NaN for the highest norm, or pass over it, by where in the series it stands.
        highest = math.nan if not all(map(math.isfinite, norms)) else max(norms, default=0.0)
        found: list[Part] = [median_words(norms, 3, last=LAST), number_words(highest, 3) if norms else None]
        for figure, digits in ((SECONDS, 3), (THROUGHPUT, 1)):
            logged = [value for _, value in run.get(figure, [])]
            words = median_words(logged or [each.value for each in said.points.get(figure, [])], digits)
            # Megatron prints one digit after the point: a model on a CPU computes, and not nothing.
            found.append("below 0.05" if words == "0.0" and not logged else words)
        if norms or any(each is not None for each in found) or said.points:
            hours.append(said.rank_hours)
            rows.append((name, *found, _hours(said.rank_hours)))
    if not rows:
        return tag("p", "No path has logged or printed a gradient norm or its times yet.")
    if len(rows) > 1:
        known = [each for each in hours if each is not None]
        rows.append(("all", None, None, None, None, _hours(sum(known) if len(known) == len(hours) else None)))
    unit, one = ("GPU-hours", "GPU") if gpus else ("rank-hours", "rank")
    headers = (
        "path",
        f"gradient norm, median of last {LAST}",
        "highest",
        "seconds an iteration",
        f"TFLOP/s a {one}",
        unit,
    )
    how = (
        f"Seconds and TFLOP/s are medians of all iterations. {unit} are ranks by the time from the first printed "
        "iteration of each start to its last, saves, validation and retrained iterations included, start-up not; they "
        "are not known where a log is missing or does not say its ranks."
    )
    return join([table("Throughput and gradient norm", headers, rows), tag("p", how, class_="soft")])


def _hours(hours: float | None) -> str | None:
    return None if hours is None else number_words(hours, 2)
