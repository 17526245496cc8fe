"""The picture of a campaign's losses."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.canvas import (
    BASELINES,
    FAINT,
    check_suffix,
    colour_of,
    count_iterations,
    name_roles,
    new_figure,
    role_of,
    save,
)
from megatron_lrps.monitor.scalars import Series, read_run
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.data import validation_sets
from megatron_lrps.versions.folder import CampaignFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, TRAINING_HEIGHT, VALIDATION_HEIGHT = 1200, 480, 260
COLUMNS = 4
BINS = 200
"""The smoothed curve has the median of each of so many equal parts of the iteration axis."""
RAW_BINS = 1000
"""Of the raw curve each part's lowest and highest value is drawn: more would not show, and would fill an SVG."""
BEGINNING = 0.05
"""Share of the iteration axis whose high first losses do not set the loss axis."""


def draw_losses(tree: Tree, campaign: CampaignFolder, file: Path) -> None:
    """Draw training losses over iterations, and one small panel of losses for each validation set, 1200 wide.

    Args:
        tree: The plan's tree; a path that has logged nothing is left out.
        campaign: Where its TensorBoard files lie.
        file: A PNG or SVG by its suffix; replaced whole.

    Raises:
        RefusedError: for another suffix, where nothing was logged yet, and where an event file cannot be read.
        StorageError: where the disk refuses.
    """
    check_suffix(file)
    sets = list(dict.fromkeys(name for path in tree.paths for name in validation_sets(tree, path)))
    tags = {name: f"lm loss validation-{name}" for name in sets}
    runs = {path.name: read_run(campaign.tensorboard(path.name), {"lm loss", *tags.values()}) for path in tree.paths}
    # Baselines lie beneath what is compared with them.
    paths = [path for path in tree.paths if runs[path.name]]
    paths.sort(key=lambda path: role_of(path) not in BASELINES)
    if not paths:
        raise RefusedError(f"no path of {tree.plan.campaign} has logged a loss yet.", "train it first: lrps run PLAN.")
    logged = [name for name in sets if any(tags[name] in run for run in runs.values())]
    rows = math.ceil(len(logged) / COLUMNS)
    end = max(series[-1][0] for run in runs.values() for series in run.values())
    with new_figure(WIDTH, TRAINING_HEIGHT + rows * VALIDATION_HEIGHT) as figure:
        heights = [TRAINING_HEIGHT, *[VALIDATION_HEIGHT] * rows]
        grid = figure.add_gridspec(1 + rows, COLUMNS, height_ratios=heights)
        training = {path.name: runs[path.name].get("lm loss", []) for path in paths}
        _draw_training(figure.add_subplot(grid[0, :]), tree, paths, training, end)
        for index, name in enumerate(logged):
            axes = figure.add_subplot(grid[1 + index // COLUMNS, index % COLUMNS])
            _draw_validation(axes, paths, {path.name: runs[path.name].get(tags[name], []) for path in paths}, end)
            axes.set_title(f"validation loss on {name}", fontsize=10)
        save(figure, file)


def _draw_training(axes: "Axes", tree: Tree, paths: Sequence[PlannedPath], losses: dict[str, Series], end: int) -> None:
    smoothed = {name: _medians(series, max(1, end // BINS)) for name, series in losses.items()}
    for path in paths:
        colour = colour_of(path)
        if role_of(path) not in BASELINES:
            axes.plot(
                *_split(_extremes(losses[path.name], max(1, end // RAW_BINS))), color=colour, linewidth=0.6, alpha=0.3
            )
        axes.plot(*_split(smoothed[path.name]), color=colour, linewidth=2.0, label=path.name)
    for path in paths:
        if path.version is not None and role_of(path) not in BASELINES and smoothed[path.name]:
            _label(axes, smoothed[path.name][-1], path)
    axes.set_title(f"Training loss of {tree.plan.campaign}", pad=10)
    axes.set_ylabel("loss (nats a token)")
    count_iterations(axes, 0, end)
    _limit(axes, list(smoothed.values()), end)
    name_roles(axes, paths)


def _draw_validation(axes: "Axes", paths: Sequence[PlannedPath], losses: dict[str, Series], end: int) -> None:
    for path in paths:
        points = _finite(losses[path.name])
        axes.plot(*_split(points), "o-", color=colour_of(path), linewidth=1.2, markersize=2.5)
        if path.version is not None and points and points[-1][0] == path.end:
            axes.plot(*_split(points[-1:]), "o", color=colour_of(path), markersize=6)
            if role_of(path) not in BASELINES:
                _label(axes, points[-1], path)
    count_iterations(axes, 0, end)
    axes.tick_params(labelsize=9)
    axes.set_xlabel("")
    axes.locator_params(axis="x", nbins=4)
    _limit(axes, [_finite(series) for series in losses.values()], end)


def _label(axes: "Axes", point: tuple[int, float], path: PlannedPath) -> None:
    axes.annotate(
        str(path.version),
        point,
        xytext=(0, -7),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=9,
        color=colour_of(path),
        weight="bold",
    )


def _limit(axes: "Axes", curves: Sequence[Series], end: int) -> None:
    """Fit the loss axis to what comes after the beginning, whose steep fall would flatten all the rest."""
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    late = [loss for curve in curves for step, loss in curve if step > BEGINNING * end]
    losses = late or [loss for curve in curves for _, loss in curve]
    if losses:
        low, high = min(losses), max(losses)
        margin = (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(low - 0.12 * margin, high + 0.05 * margin)


def _finite(series: Series) -> Series:
    return [(step, loss) for step, loss in series if math.isfinite(loss)]


def _bins(series: Series, width: int) -> list[Series]:
    bins: dict[int, Series] = {}
    for step, loss in _finite(series):
        bins.setdefault(step // width, []).append((step, loss))
    return list(bins.values())


def _medians(series: Series, width: int) -> Series:
    return [(points[len(points) // 2][0], median(loss for _, loss in points)) for points in _bins(series, width)]


def _extremes(series: Series, width: int) -> Series:
    kept: Series = []
    for points in _bins(series, width):
        ends = {min(points, key=lambda point: point[1]), max(points, key=lambda point: point[1])}
        kept.extend(sorted(ends))
    return kept


def _split(series: Series) -> tuple[list[int], list[float]]:
    return [step for step, _ in series], [loss for _, loss in series]
