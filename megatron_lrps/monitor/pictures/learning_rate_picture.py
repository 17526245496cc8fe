"""The picture of a campaign's learning-rate paths, as in the paper's figure."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_lrps.monitor.pictures.axis import ITERATIONS, Axis
from megatron_lrps.monitor.pictures.canvas import (
    DPI,
    NORMAL,
    SMALL,
    count_iterations,
    height_of_roles,
    mark_end,
    name_roles,
    new_figure,
    shortened,
    width_of,
    write_beside,
)
from megatron_lrps.monitor.pictures.colours import BASELINES, FAINT, INK, PLANNED, look_of, role_of
from megatron_lrps.monitor.pictures.labels import LINE, PlacedName, apart, name_ends
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.flags import lr_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 1200, 600
INSIDE_WIDTH, INSIDE_HEIGHT = 1080, 470
"""The approximate size of such a picture's axes, in pixels."""
POINTS = 65
"""Points of a decay: every curve is smooth at this size."""
LONGEST_NAME = 18
"""Characters of a version's name: more, turned, would leave no room for the curves."""

Curve = tuple[list[float], list[float]]
Label = tuple[str, tuple[int, float], Mapping[str, Any]]
"""A text, the point that it belongs to, and its style."""


def draw_lr(
    tree: Tree,
    paths: Sequence[PlannedPath],
    *files: Path,
    axis: Axis = ITERATIONS,
    trained: Mapping[str, int] | None = None,
) -> None:
    """Draw the learning rate of ``paths`` into ``files``, 1200 x 600, and higher if kinds of paths must be named.

    Args:
        tree: The plan's tree.
        paths: The paths to draw.
        files: PNG or SVG files, by their suffix; they are replaced whole.
        axis: The unit that the axis counts.
        trained: Path -> the iteration that it is trained until; the rest of its curve is dotted. With None all
            curves are drawn alike, as a plan.

    Raises:
        RefusedError: A suffix is not PNG or SVG.
        StorageError: The disk fails.
    """
    until = {path.name: path.end if trained is None else trained.get(path.name, path.fork) for path in paths}
    planned = any(until[path.name] < path.end for path in paths)
    roles = {role_of(path) for path in paths}
    listed = any(path.kind == "explicit" for path in paths)
    compares = planned or not roles.isdisjoint(BASELINES)
    height = HEIGHT + (height_of_roles(paths, planned=planned) if compares else 0)
    with new_figure(WIDTH, height, *files) as figure:
        axes = figure.add_subplot()
        axes.set_title(f"Learning rate of {tree.plan.campaign}", pad=12)
        start, end = min(path.fork for path in paths), max(path.end for path in paths)
        count_iterations(axes, start, end, axis=axis)
        # Baselines lie beneath what is compared with them.
        for path in sorted(paths, key=lambda path: role_of(path) not in BASELINES):
            look, width = look_of(path), 1.5 if role_of(path) in BASELINES else 2.5
            done, to_come = _split(curve_of(tree, path), until[path.name])
            axes.plot(*done, color=look.colour, linestyle=look.line, linewidth=width, label=path.name)
            axes.plot(*to_come, color=look.colour, **PLANNED)
        spacing = INSIDE_WIDTH / (end - start)
        above = _mark_forks(tree, axes, paths, spacing, axis)
        below = 2 * NORMAL if listed else _label_ends(tree, axes, paths, spacing, until)
        if compares:
            name_roles(axes, paths, planned=planned)
        else:
            _name_shared(tree, axes, paths, above)
            above += 2 * NORMAL
        _fit_rates(tree, axes, above + 8, below)
        if listed:
            figure.draw_without_rendering()
            _name_listed(tree, axes, paths, until)


def curve_of(tree: Tree, path: PlannedPath) -> Curve:
    """Return a path's curve: iterations and learning rates at each segment's ends, and between if it is no line."""
    batches = tree.batches
    fork, end = batches.samples(path.fork), batches.samples(path.end)
    xs: list[float] = []
    ys: list[float] = []
    if path.parent is not None:  # a schedule that jumps at the fork begins where its parent stands
        xs.append(path.fork)
        ys.append(_rate(tree, tree.path(path.parent), path.fork))
    for segment in path.schedule.segments:
        until = end if segment.end is None else min(segment.end, end)
        since = max(segment.start, fork)
        if until <= since:
            continue
        steps = POINTS if segment.kind == "decay" else 2
        for step in range(steps):
            position = since + (until - since) * step // (steps - 1)
            xs.append(batches.place(position))
            ys.append(segment.lr(position, **lr_range(tree.plan)))
    return xs, ys


def _split(curve: Curve, until: int) -> tuple[Curve, Curve]:
    """Split a curve at an iteration; the two parts meet there."""
    xs, ys = curve
    count = sum(x <= until for x in xs)
    if count in (0, len(xs)):
        return (curve, ([], [])) if count else (([], []), curve)
    share = (until - xs[count - 1]) / (xs[count] - xs[count - 1])
    between = ys[count - 1] + share * (ys[count] - ys[count - 1])
    return ([*xs[:count], until], [*ys[:count], between]), ([until, *xs[count:]], [between, *ys[count:]])


def _rate(tree: Tree, path: PlannedPath, iteration: int) -> float:
    """Return the learning rate that the path's curve has reached after ``iteration``."""
    position = tree.batches.samples(iteration)
    for segment in path.schedule.segments:
        if segment.end is None or position <= segment.end:
            return segment.lr(position, **lr_range(tree.plan))
    return tree.plan.lr.min


def _mark_forks(tree: Tree, axes: "Axes", paths: Sequence[PlannedPath], spacing: float, axis: Axis) -> float:
    """Mark and number the fork points; returns how far the numbers reach above them, in pixels."""
    forks: dict[int, float] = {}
    for path in tree.paths:
        if path.parent is None or role_of(path) in BASELINES:
            continue
        parent = tree.path(path.parent)
        if path in paths or parent in paths:
            forks[path.fork] = _rate(tree, parent, path.fork)
    axes.plot([*forks], [*forks.values()], "o", color="white", markeredgecolor=INK, markersize=7, zorder=5)
    widths = [width_of(axis.text(fork), SMALL) for fork in forks]
    turned = _too_close([*forks], widths, spacing)
    labels: list[Label] = [(axis.text(fork), (fork, rate), {}) for fork, rate in forks.items()]
    _annotate(axes, labels, spacing, above=True, turned=turned, size=SMALL)
    return 10 + (max(widths) if turned else 2 * SMALL) if forks else 10


def _label_ends(
    tree: Tree, axes: "Axes", paths: Sequence[PlannedPath], spacing: float, until: Mapping[str, int]
) -> float:
    """Mark and name the versions; returns how far the names reach below them, in pixels."""
    ends: dict[tuple[int, float], list[PlannedPath]] = {}
    for path in paths:
        if path.version is not None:
            ends.setdefault((path.end, _rate(tree, path, path.end)), []).append(path)
    labels: list[Label] = []
    for point, ended in ends.items():
        first = min(ended, key=lambda path: role_of(path) in BASELINES)
        mark_end(axes, first, point, trained=any(until[path.name] >= path.end for path in ended))
        names = dict.fromkeys(shortened(str(path.version), LONGEST_NAME) for path in ended)
        labels += [(name, point, {"color": look_of(first).colour, "weight": "bold"}) for name in names]
    widths = [width_of(name, NORMAL) for name, _, _ in labels]
    # Versions that end together stand side by side.
    turned = len(labels) > len(ends) or _too_close([end for end, _ in ends], widths, spacing)
    _annotate(axes, labels, spacing, above=False, turned=turned, size=NORMAL)
    return 14 + (max(widths) if turned else 2 * NORMAL) if ends else 0


def _name_listed(tree: Tree, axes: "Axes", paths: Sequence[PlannedPath], until: Mapping[str, int]) -> None:
    """Mark and name the ends of listed paths: several of them give the same version, which would name none."""
    names = []
    for path in paths:
        if path.version is not None:
            point = (path.end, _rate(tree, path, path.end))
            mark_end(axes, path, point, trained=until[path.name] >= path.end)
            names.append(PlacedName(shortened(path.name, LONGEST_NAME), point, look_of(path).colour))
    name_ends(axes, names, size=NORMAL)


def _annotate(axes: "Axes", labels: Sequence[Label], spacing: float, *, above: bool, turned: bool, size: float) -> None:
    """Write labels above or below their points; turned ones are moved aside if they would overprint."""
    labels = sorted(labels, key=lambda label: label[1])
    wanted = [x * spacing for _, (x, _), _ in labels]
    gap = LINE * size * DPI / 72
    # If not even a line each has room, one of several is named: more would not be legible.
    every = max(1, math.ceil(len(labels) * gap / INSIDE_WIDTH)) if turned else 1
    labels, wanted = labels[::every], wanted[::every]
    places = apart(wanted, gap, wanted[0], wanted[0] + INSIDE_WIDTH) if turned and labels else wanted
    for (text, point, style), place, at in zip(labels, places, wanted, strict=True):
        write_beside(
            axes,
            text,
            point,
            ((place - at) * 72 / DPI, 7 if above else -8),
            ha="center",
            va="bottom" if above else "top",
            rotation=90 if turned else 0,
            fontsize=size,
            **style,
        )


def _too_close(places: Sequence[int], widths: Sequence[float], spacing: float) -> bool:
    """Whether horizontal texts centred at these iterations would touch; ``spacing`` is in pixels an iteration."""
    labels = sorted(zip(places, widths, strict=True))
    return any(  # two names at one iteration stand at two learning rates
        0 < (after - before) * spacing < (width + next_width) / 2
        for (before, width), (after, next_width) in pairwise(labels)
    )


def _name_shared(tree: Tree, axes: "Axes", paths: Sequence[PlannedPath], above: float) -> None:
    """Name the paths that give no version at their beginning, ``above`` pixels above the line."""
    for path in paths:
        if path.version is None:
            name = "main path" if path.kind == "main" else path.name
            point, aside = (path.fork, _rate(tree, path, path.end)), (6, above * 72 / DPI)
            write_beside(axes, name, point, aside, va="bottom", color=look_of(path).colour, weight="bold")


def _fit_rates(tree: Tree, axes: "Axes", above: float, below: float) -> None:
    """Let the LR axis reach so far that ``above`` pixels are free over max, and ``below`` under min."""
    low, high = tree.plan.lr.min, tree.plan.lr.max
    bottom = 0.0
    scale = high / (INSIDE_HEIGHT - above)
    if low < below * scale:
        scale = (high - low) / (INSIDE_HEIGHT - above - below)
        bottom = low - below * scale
    axes.set_ylim(bottom, high + above * scale)
    axes.set_ylabel("learning rate")
    ticks = sorted({0.0 if low / scale > 2 * NORMAL else low, low, high})
    axes.set_yticks(ticks, [_short(rate) for rate in ticks])
    for rate in (low, high):
        axes.axhline(rate, color=FAINT, linewidth=1.0, zorder=0)


def _short(rate: float) -> str:
    """Format a number: 3e-4 for 0.0003."""
    digits, _, exponent = f"{rate:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}" if rate else "0"
