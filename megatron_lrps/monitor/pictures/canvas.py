"""Shared parts of pictures: a figure without pyplot's global state, axes, a legend, files that no crash tears."""

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.pictures.axis import ITERATIONS, Axis
from megatron_lrps.monitor.pictures.colours import INK, LOOKS, PLANNED, look_of, role_of
from megatron_lrps.plan import PlannedPath
from megatron_lrps.storage.files import write_atomic

try:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, MaxNLocator
except ImportError as error:
    raise RefusedError(f"matplotlib cannot be imported: {error}.", "install it: pip install matplotlib.") from None

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
DPI = 100
NORMAL, SMALL = 11.0, 9.0
"""Text sizes, in points."""

_ROLES_A_ROW = 2
"""The legend has two columns: a phone shows the left third of a picture, and must show all of them."""
ROW_OF_ROLES = 22
"""The height of a row of the legend, in pixels."""

_STYLE: dict[Any, Any] = {
    "font.size": NORMAL,
    "font.family": "sans-serif",
    "figure.constrained_layout.h_pad": 0.1,  # inches
    "figure.constrained_layout.w_pad": 0.1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # names stay text, which can be searched and copied
    "svg.hashsalt": "lrps",  # the same picture is the same file
}


def picture_files(stem: Path) -> list[Path]:
    """Return the files of a picture, the PNG first; ``stem`` is their name without a suffix, and may hold dots."""
    return [stem.with_name(f"{stem.name}{suffix}") for suffix in SUFFIXES]


def check_suffix(file: Path) -> str:
    """Return the picture format that the file's name asks for; raises RefusedError if it is neither PNG nor SVG."""
    if file.suffix.lower() not in SUFFIXES:
        given = f"the suffix {file.suffix}" if file.suffix else "no suffix"
        raise RefusedError(f"The picture {file} has {given}.", f"name it {file.stem}.png or {file.stem}.svg.")
    return file.suffix.lower().removeprefix(".")


@contextlib.contextmanager
def new_figure(width: int, height: int, *files: Path) -> Iterator[Figure]:
    """Yield an empty figure of this size in pixels, in the pictures' style; it is saved when the context ends.

    Args:
        width: The width of the figure.
        height: The height of the figure.
        files: PNG or SVG files, by their suffix. Afterwards each holds the old picture or the new one.

    Raises:
        RefusedError: A suffix is not PNG or SVG.
        StorageError: The disk fails.
    """
    formats = {file: check_suffix(file) for file in files}
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        for file, kind in formats.items():
            picture = io.BytesIO()
            figure.savefig(picture, format=kind, metadata={"Date": None} if kind == "svg" else None)
            write_atomic(file, picture.getvalue())


def shortened(name: str, longest: int) -> str:
    """Cut a name to so many characters: its middle goes, since names in a row often differ at their ends."""
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 3
    return f"{name[: longest - 1 - tail]}…{name[len(name) - tail :]}"


def width_of(text: str, size: float) -> float:
    """Estimate the width of a line of text of ``size`` points, in pixels, rather too wide than narrow."""
    return len(text) * 0.7 * size * DPI / 72


def count_iterations(
    axes: "Axes", start: int, end: int, *, share: float = 0.015, axis: Axis = ITERATIONS, ticks: int = 8
) -> None:
    """Let the x axis run from ``start`` to ``end``, in iterations, with a margin.

    Args:
        axes: The axes.
        start: The first iteration.
        end: The last iteration.
        share: The margin as a share of the axis.
        axis: The unit that the axis counts; the ticks are round numbers of that.
        ticks: The most ticks that it has.
    """
    margin = (end - start) * share
    axes.set_xlim(start - margin if start else 0, end + margin)
    axes.set_xlabel(axis.label)
    axes.xaxis.set_major_locator(_RoundTicks(axis.unit, nbins=ticks, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: axis.text(value)))


def write_beside(axes: "Axes", text: str, point: tuple[float, float], aside: tuple[float, float], **style: Any) -> None:
    """Write a text at a point of the axes' data, moved aside by so many points of text to the right and up."""
    axes.annotate(text, point, xytext=aside, textcoords="offset points", **style)


def mark_end(axes: "Axes", path: PlannedPath, point: tuple[float, float], *, trained: bool) -> None:
    """Mark the end of a path that gives a version; the mark is empty until the path is trained."""
    colour, _, mark = look_of(path)
    axes.plot(*point, mark, color=colour if trained else "white", markeredgecolor=colour, markersize=7, zorder=6)


class _RoundTicks(MaxNLocator):
    """Ticks at round multiples of a ``unit`` that lies on the axis as 1."""

    def __init__(self, unit: int, **options: Any) -> None:
        super().__init__(**options)
        self._unit = unit

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return [tick / self._unit for tick in super().tick_values(vmin * self._unit, vmax * self._unit)]


def name_roles(axes: "Axes", paths: Sequence[PlannedPath], *, planned: bool = False) -> None:
    """Draw a legend of the kinds of curves, between axes and title at the left, which a phone shows first.

    Args:
        axes: The axes that the curves are in.
        paths: The paths of the curves.
        planned: Whether parts of curves are drawn as still to be trained; then the legend says so.
    """
    handles = []
    for role in dict.fromkeys(map(role_of, paths)):
        colour, line, mark = LOOKS[role]
        handles.append(
            Line2D([], [], color=colour, linestyle=line, marker=mark, linewidth=2.0, markersize=6, label=role)
        )
    if planned:
        handles.append(Line2D([], [], color=INK, label="planned", **PLANNED))
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=_ROLES_A_ROW,
        borderpad=0.0,
        borderaxespad=0.3,
        labelspacing=0.3,
        handlelength=3.0,
    )
    axes.set_title(axes.get_title(loc="left"), pad=10 + height_of_roles(paths, planned=planned) * 72 / DPI)


def height_of_roles(paths: Sequence[PlannedPath], *, planned: bool = False) -> int:
    """Return the height of the legend by ``name_roles``, in pixels."""
    return ROW_OF_ROLES * math.ceil((len({role_of(path) for path in paths}) + planned) / _ROLES_A_ROW)
