"""Pictures of a campaign: its learning-rate paths, as in the paper's figure, and its losses."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_lrps.monitor.canvas import (
    BASELINES,
    CHARACTER,
    FAINT,
    INK,
    check_suffix,
    colour_of,
    count_iterations,
    name_roles,
    new_figure,
    role_of,
    save,
)
from megatron_lrps.monitor.losses import draw_losses
from megatron_lrps.plan import PlannedPath, Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_losses", "draw_lr"]

WIDTH, HEIGHT = 1200, 600
INSIDE_WIDTH, INSIDE_HEIGHT = 1080, 470
"""The axes' own size in such a picture, in pixels, nearly."""
POINTS = 65
"""Points of a decay: every curve is smooth at this size."""

Curve = tuple[list[float], list[float]]


def draw_lr(tree: Tree, paths: Sequence[PlannedPath], file: Path) -> None:
    """Draw the learning rate of ``paths`` over iterations into ``file``, 1200 x 600.

    Args:
        tree: The plan's tree.
        paths: Which of its paths.
        file: A PNG or SVG by its suffix; replaced whole.

    Raises:
        RefusedError: for another suffix.
        StorageError: where the disk refuses.
    """
    check_suffix(file)
    with new_figure(WIDTH, HEIGHT) as figure:
        axes = figure.add_subplot()
        axes.set_title(f"Learning rate of {tree.plan.campaign}", pad=12)
        start, end = min(path.fork for path in paths), max(path.end for path in paths)
        count_iterations(axes, start, end)
        # Baselines lie beneath what is compared with them.
        for path in sorted(paths, key=lambda path: role_of(path) not in BASELINES):
            quiet = role_of(path) in BASELINES
            axes.plot(*_curve(tree, path), color=colour_of(path), linewidth=1.5 if quiet else 2.5, label=path.name)
        _scale(tree, axes)
        spacing = INSIDE_WIDTH / (end - start)
        _mark_forks(tree, axes, paths, spacing)
        _label_ends(tree, axes, paths, spacing)
        if len({role_of(path) for path in paths}) > 2:
            name_roles(axes, paths)
        else:
            _name_shared(tree, axes, paths)
        save(figure, file)


def _curve(tree: Tree, path: PlannedPath) -> Curve:
    """Iterations and learning rates at the ends of each segment, and between where it is no line."""
    batch = tree.plan.global_batch_size
    fork, end = path.fork * batch, path.end * batch
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
            xs.append(position / batch)
            ys.append(segment.lr(position, max_lr=tree.plan.lr.max, min_lr=tree.plan.lr.min, init_lr=_init(tree)))
    return xs, ys


def _rate(tree: Tree, path: PlannedPath, iteration: int) -> float:
    """The learning rate that the path's curve has reached after ``iteration``."""
    position = iteration * tree.plan.global_batch_size
    for segment in path.schedule.segments:
        if segment.end is None or position <= segment.end:
            return segment.lr(position, max_lr=tree.plan.lr.max, min_lr=tree.plan.lr.min, init_lr=_init(tree))
    return tree.plan.lr.min


def _init(tree: Tree) -> float:
    return float(tree.plan.megatron.get("lr-warmup-init", 0.0))  # type: ignore[arg-type]


def _scale(tree: Tree, axes: "Axes") -> None:
    lr = tree.plan.lr
    axes.set_ylabel("learning rate")
    axes.set_yticks(sorted({0.0, lr.min, lr.max}), [_short(rate) for rate in sorted({0.0, lr.min, lr.max})])
    for rate in (lr.min, lr.max):
        axes.axhline(rate, color=FAINT, linewidth=1.0, zorder=0)


def _short(rate: float) -> str:
    """3e-4 for 0.0003."""
    digits, _, exponent = f"{rate:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}" if rate else "0"


def _mark_forks(tree: Tree, axes: "Axes", paths: Sequence[PlannedPath], spacing: float) -> None:
    forks: dict[int, float] = {}
    for path in tree.paths:
        if path.parent is None or role_of(path) in BASELINES:
            continue
        parent = tree.path(path.parent)
        if path in paths or parent in paths:
            forks[path.fork] = _rate(tree, parent, path.fork)
    axes.plot([*forks], [*forks.values()], "o", color="white", markeredgecolor=INK, markersize=7, zorder=5)
    turned = _too_close([*forks], [f"{fork:,}" for fork in forks], spacing)
    for fork, rate in forks.items():
        axes.annotate(
            f"{fork:,}",
            (fork, rate),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            rotation=90 if turned else 0,
        )


def _label_ends(tree: Tree, axes: "Axes", paths: Sequence[PlannedPath], spacing: float) -> None:
    ends: dict[int, list[PlannedPath]] = {}
    for path in paths:
        if path.version is not None:
            ends.setdefault(path.end, []).append(path)
    texts = {end: ", ".join(dict.fromkeys(str(path.version) for path in ended)) for end, ended in ends.items()}
    turned = _too_close([*ends], [*texts.values()], spacing)
    longest = max((len(text) for text in texts.values()), default=0)
    needed = 14 + (longest * CHARACTER if turned else 2 * CHARACTER)
    # The axis reaches so far below the lowest end that the names fit in between.
    lowest, highest = tree.plan.lr.min, tree.plan.lr.max
    room = max(needed - lowest / highest * INSIDE_HEIGHT, 0.0) / (INSIDE_HEIGHT - needed)
    axes.set_ylim(-highest * room, highest * 1.12)
    for end, ended in ends.items():
        first = min(ended, key=lambda path: role_of(path) in BASELINES)
        rate = _rate(tree, first, end)
        colour = colour_of(first)
        axes.plot([end], [rate], "o", color=colour, markersize=7, zorder=6)
        axes.annotate(
            texts[end],
            (end, rate),
            xytext=(0, -8),
            textcoords="offset points",
            ha="center",
            va="top",
            color=colour,
            weight="bold",
            rotation=90 if turned else 0,
        )


def _too_close(places: Sequence[int], texts: Sequence[str], spacing: float) -> bool:
    """Whether horizontal texts centred at these iterations would touch."""
    gaps = [(after - before) * spacing for before, after in pairwise(places)]
    return bool(gaps) and min(gaps) < max(map(len, texts)) * CHARACTER


def _name_shared(tree: Tree, axes: "Axes", paths: Sequence[PlannedPath]) -> None:
    for path in paths:
        if path.version is None:
            axes.annotate(
                "main path" if path.kind == "main" else path.name,
                (path.fork, _rate(tree, path, path.end)),
                xytext=(6, 22),
                textcoords="offset points",
                va="bottom",
                color=colour_of(path),
                weight="bold",
            )
