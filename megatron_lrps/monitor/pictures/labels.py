"""Names at points of curves that cover neither each other nor, if that is possible, a curve.

adjustText, which moves names step by step, needs 25 s for four names beside curves of a thousand points, lays names at
the edge of a picture over each other, and does not end with eighteen names.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from megatron_lrps.monitor.pictures.canvas import DPI, width_of, write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 1.3
"""The height of a line of text, in sizes of its letters."""
ASIDE = 8.0
"""The distance of a name from its point, in points of text."""
_SIDES = ((0, -1, "center", "top"), (0, 1, "center", "bottom"), (-1, 0, "right", "center"), (1, 0, "left", "center"))
_BEYOND, _OVER = 15.0, 6.0
"""The pixels that a name may reach out of its axes, at the right and at the top."""
_IN_FRONT, _HEAVY = 1.2, 10
"""The line width from which a curve is in front, and how many faint points a place on it weighs."""
_STEP = 4.0
"""The distance of two places on a curve in front, in pixels."""
_MARK = 4.0
"""The distance from a point's middle to the edge of its mark, in pixels."""


class PlacedName(NamedTuple):
    """A name at a point, which is in the axes' own data, and its colour."""

    text: str
    point: tuple[float, float]
    colour: str


class _Box(NamedTuple):
    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "_Box") -> bool:
        beside = self.left >= other.right or other.left >= self.right
        return not (beside or self.bottom >= other.top or other.bottom >= self.top)


def name_ends(axes: "Axes", names: Iterable[PlacedName], *, size: float) -> None:
    """Name curves at the right of their ends, one below the other where these are close; a line leads to each.

    Args:
        axes: The axes; their figure has been laid out.
        names: The names, each at the end of a curve.
        size: The size of the text, in points.
    """
    frame, gap = axes.get_window_extent(), LINE * size * DPI / 72
    most = max(1, int(frame.height // gap))
    for column in _columns(axes, names, size):
        shown = _ends_of(column, most)
        heights = [_pixel(axes, name)[1] for name in shown]
        places = apart(heights, gap, frame.y0 + gap / 2, frame.y1 - gap / 2)
        for name, height, place in zip(shown, heights, places, strict=True):
            write_beside(
                axes,
                name.text,
                name.point,
                (ASIDE, (place - height) * 72 / DPI),
                ha="left",
                va="center",
                fontsize=size,
                color=name.colour,
                weight="bold",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
                arrowprops={"arrowstyle": "-", "color": name.colour, "linewidth": 0.8, "relpos": (0.0, 0.5)},
            )


def _ends_of(column: Sequence[PlacedName], most: int) -> list[PlacedName]:
    """Return at most so many names: the middle ones are counted instead, since readers look for the extremes."""
    if len(column) <= most:
        return [*column]
    low, high = column[: most // 2], column[len(column) - (most - 1) // 2 :]
    left = column[len(low) : len(column) - len(high)]
    return [*low, left[0]._replace(text=f"{len(left)} more"), *high]


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places at least a ``gap`` apart, as near to the wanted places, which rise, as possible.

    They lie within ``low`` and ``high`` if there is enough room.
    """
    blocks: list[tuple[float, int]] = []  # of places that touch: their mean, without the gaps, and how many they are
    for number, place in enumerate(wanted):
        mean, count = place - number * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, those = blocks.pop()
            mean, count = (mean * count + before * those) / (count + those), count + those
        blocks.append((mean, count))
    bases = [mean for mean, count in blocks for _ in range(count)]
    highest = high - (len(bases) - 1) * gap
    return [max(low, min(base, highest)) + number * gap for number, base in enumerate(bases)]


def _columns(axes: "Axes", names: Iterable[PlacedName], size: float) -> list[list[PlacedName]]:
    """Group names whose texts could touch at one height, the lowest first."""
    columns: list[list[PlacedName]] = []
    until = 0.0
    for name in sorted(names, key=lambda each: each.point[0]):
        left = _pixel(axes, name)[0]
        if not columns or left > until:
            columns.append([])
        columns[-1].append(name)
        until = max(until, left + 2 * ASIDE + width_of(name.text, size))
    return [sorted(column, key=lambda each: each.point[1]) for column in columns]


def name_points(axes: "Axes", names: Iterable[PlacedName], *, size: float) -> None:
    """Name points below, above or beside them, on the side where the name covers the least of the curves.

    The last point comes first. A name is left out if it would touch an earlier name on every side.

    Args:
        axes: The axes; their figure has been laid out.
        names: The names, each at a point of a curve.
        size: The size of the text, in points.
    """
    frame = axes.get_window_extent()
    crowd = _crowd(axes)
    taken: list[_Box] = []
    for name in sorted(names, key=lambda each: each.point, reverse=True):
        free = []
        for order, (x, y, across, along) in enumerate(_SIDES):
            box = _box(_pixel(axes, name), x, y, width_of(name.text, size), LINE * size * DPI / 72)
            within = frame.x0 <= box.left and box.right <= frame.x1 + _BEYOND
            inside = within and frame.y0 <= box.bottom and box.top <= frame.y1 + _OVER
            if inside and not any(map(box.meets, taken)):
                wide = _Box(box.left - _MARK, box.bottom - _MARK, box.right + _MARK, box.top + _MARK)
                inside_it = (each for each in crowd if _within(wide, each))
                covered = sum(weight for *_, weight in inside_it)
                free.append((covered, order, box, (x * ASIDE, y * ASIDE), across, along))
        if not free:
            continue
        _, _, box, offset, across, along = min(free)
        taken.append(box)
        style = {"ha": across, "va": along, "fontsize": size, "color": name.colour, "weight": "bold"}
        # The axes keep the size that its place was found in.
        write_beside(axes, name.text, name.point, offset, **style, in_layout=False)


def _crowd(axes: "Axes") -> list[tuple[float, float, int]]:
    """Return points that names should not cover: (x, y, weight) in pixels along curves; those in front weigh more."""
    found: list[tuple[float, float, int]] = []
    for line in axes.get_lines():
        if line.get_transform() != axes.transData:
            continue
        points = [(float(x), float(y)) for x, y in axes.transData.transform(line.get_xydata())]
        if line.get_linewidth() < _IN_FRONT or line.get_linestyle() == "None":
            found += [(x, y, 1) for x, y in points]
            continue
        for (x, y), (to_x, to_y) in pairwise(points):
            steps = 1 + int(math.hypot(to_x - x, to_y - y) // _STEP) if math.isfinite(x + y + to_x + to_y) else 0
            found += [(x + (to_x - x) * step / steps, y + (to_y - y) * step / steps, _HEAVY) for step in range(steps)]
        found += [(x, y, _HEAVY) for x, y in points[-1:]]
    return found


def _within(box: _Box, point: tuple[float, float, int]) -> bool:
    return box.left <= point[0] <= box.right and box.bottom <= point[1] <= box.top


def _box(pixel: tuple[float, float], x: int, y: int, width: float, height: float) -> _Box:
    away = ASIDE * DPI / 72
    left = pixel[0] + x * away - width * (1 - x) / 2
    bottom = pixel[1] + y * away - height * (1 - y) / 2
    return _Box(left, bottom, left + width, bottom + height)


def _pixel(axes: "Axes", name: PlacedName) -> tuple[float, float]:
    x, y = axes.transData.transform(name.point)
    return float(x), float(y)
