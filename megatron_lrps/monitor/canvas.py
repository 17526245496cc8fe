"""What all pictures share: colours, a figure without pyplot's global state, and files that a crash cannot tear."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.axis import ITERATIONS, Axis
from megatron_lrps.plan import PlannedPath
from megatron_lrps.versions.files import write_atomic

try:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, MaxNLocator
except ImportError as error:
    raise RefusedError(f"matplotlib does not import: {error}.", "pip install matplotlib.") from None

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
DPI = 100
INK, FAINT = "#333333", "#DDDDDD"
NORMAL, SMALL = 11.0, 9.0
"""Text sizes, in points."""

# Okabe and Ito's palette, which colour-blind readers tell apart; baselines are its quieter colours.
_COLOURS = {
    "main path": "#0072B2",
    "branches": "#D55E00",
    "shared paths": "#0072B2",
    "versions": "#D55E00",
    "PTFS": "#8C8C8C",
    "CPT": "#009E73",
    "CPT-REWARM": "#CC79A7",
}
BASELINES = ("PTFS", "CPT", "CPT-REWARM")
PARADIGM_COLOURS = {"lrps": _COLOURS["branches"], **{role.lower(): _COLOURS[role] for role in BASELINES}}

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


def role_of(path: PlannedPath) -> str:
    """What a picture calls the path's kind: a key of its colours."""
    if path.kind == "explicit":
        return "versions" if path.version else "shared paths"
    return {"main": "main path", "branch": "branches"}.get(path.kind, path.paradigm.upper())


def colour_of(path: PlannedPath) -> str:
    """The colour of the path's role."""
    return _COLOURS[role_of(path)]


def check_suffix(file: Path) -> str:
    """The picture format that the file's name asks for; raises RefusedError for any other than PNG and SVG."""
    if file.suffix.lower() not in SUFFIXES:
        given = f"the suffix {file.suffix}" if file.suffix else "no suffix"
        raise RefusedError(f"picture {file} has {given}.", f"name it {file.stem}.png or {file.stem}.svg.")
    return file.suffix.lower().removeprefix(".")


@contextlib.contextmanager
def new_figure(width: int, height: int) -> Iterator[Figure]:
    """An empty figure of the given size in pixels, in the pictures' style until the context ends."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def width_of(text: str, size: float) -> float:
    """The width of a line of text of ``size`` points, in pixels, rather too much than too little."""
    return len(text) * 0.7 * size * DPI / 72


def count_iterations(
    axes: "Axes", start: int, end: int, *, share: float = 0.015, axis: Axis = ITERATIONS, ticks: int = 8
) -> None:
    """Let the x axis run from ``start`` to ``end``, in iterations, with a margin of a ``share`` of it.

    Args:
        axes: Whose.
        start: An iteration.
        end: An iteration.
        share: Of the margin.
        axis: What it counts; its ticks are round numbers of that.
        ticks: At most so many.
    """
    margin = (end - start) * share
    axes.set_xlim(start - margin if start else 0, end + margin)
    axes.set_xlabel(axis.label)
    axes.xaxis.set_major_locator(_RoundTicks(axis.unit, nbins=ticks, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: axis.text(value)))


class _RoundTicks(MaxNLocator):
    """Ticks at round multiples of a ``unit`` that lies on the axis as 1."""

    def __init__(self, unit: int, **options: Any) -> None:
        super().__init__(**options)
        self._unit = unit

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return [tick / self._unit for tick in super().tick_values(vmin * self._unit, vmax * self._unit)]


def name_roles(axes: "Axes", paths: Sequence[PlannedPath]) -> None:
    """One line of coloured names above the axes, where curves of several kinds cross."""
    roles = dict.fromkeys(role_of(path) for path in paths)
    handles = [Line2D([], [], color=_COLOURS[role], linewidth=2.5, label=role) for role in roles]
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(handles),
        borderpad=0.0,
        borderaxespad=0.3,
    )


def save(figure: Figure, file: Path) -> None:
    """Write the figure to ``file``, PNG or SVG by its suffix: afterwards it holds the old picture or the new one.

    Raises:
        RefusedError: for another suffix.
        StorageError: where the disk refuses.
    """
    suffix = check_suffix(file)
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix, metadata={"Date": None} if suffix == "svg" else None)
    write_atomic(file, picture.getvalue())
