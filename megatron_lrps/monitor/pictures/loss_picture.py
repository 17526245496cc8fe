"""The picture of a campaign's losses."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.pictures.axis import ITERATIONS, Axis
from megatron_lrps.monitor.pictures.canvas import (
    SMALL,
    check_suffix,
    count_iterations,
    name_roles,
    new_figure,
    shortened,
)
from megatron_lrps.monitor.pictures.colours import BASELINES, FAINT, look_of, role_of
from megatron_lrps.monitor.pictures.labels import PlacedName, name_ends, name_points
from megatron_lrps.monitor.scalars import Runs, Series, finite
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.data_files import validation_sets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, TRAINING_HEIGHT, VALIDATION_HEIGHT = 1200, 480, 260
COLUMNS = 4
BINS, LEAST = 100, 5
"""The smoothed curve has the median of each of so many equal parts of the iteration axis, of 5 iterations at least."""
RAW_BINS = 500
"""The raw curve shows each part's lowest and highest value: more would not show, and would fill an SVG."""
MARKED = 24
"""A validation curve of more points is drawn as the raw one is, without a mark at each."""
BEGINNING = 0.05
"""Share of the iteration axis whose high first losses do not set the loss axis."""

LONGEST_SET, LONGEST_NAME = 18, 18
"""Characters of a validation set's name above its panel, a quarter of the width, and of a version's in there."""

Losses = Mapping[PlannedPath, Series]
Points = dict[PlannedPath, tuple[int, float]]


def loss_sets(tree: Tree) -> dict[str, str]:
    """Return validation set -> TensorBoard's tag of its loss, for every set of a campaign."""
    return {name: f"lm loss validation-{name}" for path in tree.paths for name in validation_sets(tree, path)}


def draw_losses(tree: Tree, runs: Runs, *files: Path, axis: Axis = ITERATIONS) -> None:
    """Draw training losses on one axis, and one small panel of losses for each validation set, 1200 wide.

    Args:
        tree: The plan's tree; a path that has logged nothing is left out.
        runs: The logged figures of each of its paths; the loss and ``loss_sets``' tags are drawn.
        files: PNG or SVG by their suffix; replaced whole.
        axis: The unit that the axis counts.

    Raises:
        RefusedError: The suffix is another, or nothing was logged yet.
        StorageError: The disk fails.
    """
    for file in files:
        check_suffix(file)
    tags = loss_sets(tree)
    # Baselines lie beneath what is compared with them.
    paths = [path for path in tree.paths if runs[path.name]]
    paths.sort(key=lambda path: role_of(path) not in BASELINES)
    if not paths:
        raise RefusedError(f"No path of {tree.plan.campaign} has logged a loss yet.", "train it first: lrps run PLAN.")
    logged = [name for name in tags if any(tags[name] in run for run in runs.values())]
    rows = math.ceil(len(logged) / COLUMNS)
    columns = max(1, min(COLUMNS, len(logged)))
    end = max(1, *(series[-1][0] for run in runs.values() for series in run.values()))
    heights = [TRAINING_HEIGHT, *[VALIDATION_HEIGHT] * rows]
    with new_figure(WIDTH, sum(heights), *files) as figure:
        grid = figure.add_gridspec(1 + rows, columns, height_ratios=heights)
        training = {path: runs[path.name].get("lm loss", []) for path in paths}
        top = figure.add_subplot(grid[0, :])
        ends = {top: _draw_training(top, tree, training, end, axis)}
        name_roles(top, [path for path in tree.paths if path in paths])
        for index, name in enumerate(logged):
            axes = figure.add_subplot(grid[1 + index // columns, index % columns])
            losses = {path: runs[path.name].get(tags[name], []) for path in paths}
            ends[axes] = _draw_validation(axes, losses, end, axis)
            axes.set_title(f"validation loss on {shortened(name, LONGEST_SET)}", fontsize=10)
        figure.draw_without_rendering()  # the room for names is known in pixels
        for axes, points in ends.items():
            _label(axes, points)


def _draw_training(axes: "Axes", tree: Tree, losses: Losses, end: int, axis: Axis) -> Points:
    smoothed = {path: _medians(series, max(LEAST, end // BINS)) for path, series in losses.items()}
    for path, curve in smoothed.items():
        (colour, line, _), quiet = look_of(path), role_of(path) in BASELINES
        if not quiet:
            raw = _extremes(losses[path], max(1, end // RAW_BINS))
            axes.plot(*_split(raw), color=colour, linewidth=0.6, alpha=0.3)
        marker = "o" if len(curve) == 1 else None  # a line of one point would not show
        width = 1.3 if quiet else 2.0
        axes.plot(*_split(curve), color=colour, linestyle=line, linewidth=width, marker=marker)
    axes.set_title(f"Training loss of {tree.plan.campaign}", pad=10)
    axes.set_ylabel("loss (nats a token)")
    count_iterations(axes, 0, end, axis=axis)
    _limit(axes, list(smoothed.values()), end, below=0.12)
    _mark_lost(axes, losses)
    return {path: curve[-1] for path, curve in smoothed.items() if curve}


def _draw_validation(axes: "Axes", losses: Losses, end: int, axis: Axis) -> Points:
    known = {path: finite(series) for path, series in losses.items()}
    ends = {path: points[-1] for path, points in known.items() if points and points[-1][0] == path.end}
    for path, points in known.items():
        few = len(points) <= MARKED
        shown = points if few else _extremes(points, max(1, end // (RAW_BINS // COLUMNS)))
        colour, line, mark = look_of(path)
        small = (mark or "o") if few else ""
        axes.plot(*_split(shown), marker=small, color=colour, linestyle=line, linewidth=1.2, markersize=2.5)
        if path in ends and path.version is not None:
            axes.plot(*ends[path], mark, color=colour, markersize=6)
    count_iterations(axes, 0, end, share=0.04, axis=axis, ticks=4)
    axes.tick_params(labelsize=SMALL)
    axes.set_xlabel("")
    _limit(axes, list(known.values()), end, below=0.2)
    _mark_lost(axes, losses)
    return ends


def lost(series: Series) -> list[tuple[int, int, int]]:
    """Return the stretches of values that are not finite, as (first step, last step, how many)."""
    stretches = []
    for is_lost, points in groupby(series, key=lambda point: not math.isfinite(point[1])):
        steps = [step for step, _ in points]
        if is_lost:
            stretches.append((steps[0], steps[-1], len(steps)))
    return stretches


def _mark_lost(axes: "Axes", losses: Losses) -> None:
    """Mark along the upper edge where losses are not finite: no curve has them."""
    stretches = [(path, first, last) for path, series in losses.items() for first, last, _ in lost(series)]
    for path, first, last in stretches:
        axes.plot([first, last], [0.98, 0.98], "x-", color=look_of(path).colour, transform=axes.get_xaxis_transform())
    if stretches:
        axes.annotate("x: not finite", (1.0, 0.93), xycoords="axes fraction", ha="right", va="top", fontsize=SMALL)


def _label(axes: "Axes", points: Points) -> None:
    """Name paths that a plan lists at their last points; else the versions, but no baselines, which end there too."""
    if any(path.kind == "explicit" for path in points):
        name_ends(axes, [PlacedName(path.name, at, look_of(path).colour) for path, at in points.items()], size=SMALL)
        return
    named = {path: at for path, at in points.items() if path.version is not None and role_of(path) not in BASELINES}
    names = [
        PlacedName(shortened(str(path.version), LONGEST_NAME), at, look_of(path).colour) for path, at in named.items()
    ]
    name_points(axes, names, size=SMALL)


def _limit(axes: "Axes", curves: Sequence[Series], end: int, *, below: float) -> None:
    """Fit the loss axis to what comes after the beginning, whose steep fall would flatten all the rest.

    ``below`` is the share of the range that stays free for names under the lowest point.
    """
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    late = [loss for curve in curves for step, loss in curve if step > BEGINNING * end]
    losses = late or [loss for curve in curves for _, loss in curve]
    if losses:
        low, high = min(losses), max(losses)
        margin = (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(low - below * margin, high + 0.05 * margin)


def _parts(series: Series, width: int) -> list[Series]:
    """Split the finite points into equal parts of about ``width`` iterations: the median of a rest would stray."""
    points = finite(series)
    if not points:
        return []
    count = min(len(points), max(1, round((points[-1][0] - points[0][0] + 1) / width)))
    edges = [len(points) * part // count for part in range(count + 1)]
    return [points[start:stop] for start, stop in pairwise(edges)]


def _medians(series: Series, width: int) -> Series:
    return [(part[len(part) // 2][0], median(loss for _, loss in part)) for part in _parts(series, width)]


def _extremes(series: Series, width: int) -> Series:
    kept: Series = []
    for part in _parts(series, width):
        kept.extend(sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}))
    return kept


def _split(series: Series) -> tuple[list[int], list[float]]:
    return [step for step, _ in series], [loss for _, loss in series]
