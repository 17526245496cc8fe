"""The picture of a campaign's tree: every path from its fork to its end, and how far it is trained."""

from collections.abc import Mapping
from pathlib import Path

from megatron_lrps.monitor.pictures.axis import ITERATIONS, Axis
from megatron_lrps.monitor.pictures.canvas import (
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
from megatron_lrps.monitor.pictures.colours import FAINT, INK, PLANNED, look_of
from megatron_lrps.plan import PlannedPath, Tree

WIDTH, ROW, AROUND = 1200, 30, 130
"""In pixels: the width, the height of a row, and the height above and below all rows."""
_LONGEST = 28
"""Characters of a path's name."""


def draw_tree(tree: Tree, trained: Mapping[str, int], *files: Path, axis: Axis = ITERATIONS) -> None:
    """Draw every path as a line from its fork to its end, 1200 wide and as high as the tree has paths.

    Args:
        tree: The plan's tree.
        trained: Path -> the iteration that it is trained until; its line is strong up to there.
        files: PNG or SVG files, by their suffix; they are replaced whole.
        axis: The horizontal axis.

    Raises:
        RefusedError: A suffix is not PNG or SVG.
        StorageError: The disk fails.
    """
    rows = {path.name: row for row, path in enumerate(_in_order(tree))}
    names = {path.name: _shortened(path) for path in tree.paths}
    planned = any(trained.get(path.name, path.fork) < path.end for path in tree.paths)
    height = AROUND + height_of_roles(tree.paths, planned=planned) + ROW * len(rows)
    with new_figure(WIDTH, height, *files) as figure:
        axes = figure.add_subplot()
        end = max(path.end for path in tree.paths)
        count_iterations(axes, 0, end, axis=axis)
        # Names stand right of their lines, the longest line's too.
        room = max(width_of(name, NORMAL) for name in names.values()) + 20
        axes.set_xlim(0, end * WIDTH / max(WIDTH - room, WIDTH / 2))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_title(f"Paths of {tree.plan.campaign}", pad=12)
        for path in tree.paths:
            row, colour = rows[path.name], look_of(path).colour
            if path.parent is not None:
                axes.plot([path.fork, path.fork], [rows[path.parent], row], color=FAINT, linewidth=1.2, zorder=1)
                axes.plot(path.fork, rows[path.parent], "o", color="white", markeredgecolor=INK, markersize=6, zorder=5)
            until = min(max(trained.get(path.name, path.fork), path.fork), path.end)
            axes.plot([until, path.end], [row, row], color=colour, zorder=2, **PLANNED)
            parts = sorted({part.iteration for part in path.mean})
            axes.plot(parts, [row] * len(parts), "o", color=colour, markersize=3.5, zorder=3)
            width = 1.2 if parts else 4.5
            axes.plot([path.fork, until], [row, row], color=colour, linewidth=width, solid_capstyle="butt", zorder=3)
            if path.version is not None:
                mark_end(axes, path, (path.end, row), trained=until == path.end)
            write_beside(
                axes,
                names[path.name],
                (path.end, row),
                (8, 0),
                va="center",
                fontsize=NORMAL if len(rows) < 40 else SMALL,
                color=colour,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.85},  # forks pass behind it
                zorder=4,
            )
        name_roles(axes, tree.paths, planned=planned)


def _in_order(tree: Tree) -> list[PlannedPath]:
    """Sort parents with their children right below them."""
    found: list[PlannedPath] = []
    waiting = [path for path in reversed(tree.paths) if path.parent is None]
    while waiting:
        path = waiting.pop()
        found.append(path)
        waiting += [child for child in reversed(tree.paths) if child.parent == path.name]
    return found


def _shortened(path: PlannedPath) -> str:
    version = f" ({path.version})" if path.version and path.version != path.name else ""
    return shortened(f"{path.name}{version}", _LONGEST)
