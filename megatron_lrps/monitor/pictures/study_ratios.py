"""The picture that sets all runs of a study side by side: their last versions' perplexities over PTFS's."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_lrps.monitor.pictures.canvas import SMALL, new_figure, picture_files
from megatron_lrps.monitor.pictures.colours import FAINT, INK, PARADIGMS
from megatron_lrps.monitor.study_results import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, ROW, EDGES = 1200, 34, 130
"""The picture's width, the height of a run, and what the title and the axis take, in pixels."""


def draw_ratios(lines: Sequence[Line], stem: Path) -> Path | None:
    """Draw each run's last version over PTFS, a row for a run, as PNG and SVG.

    Args:
        lines: The study's results.
        stem: The files' name without its suffix.

    Returns:
        The PNG file; None if fewer than two runs have LRPS beside a PTFS, their own or a baseline's.

    Raises:
        StorageError: The disk fails.
    """
    rows = _rows(lines)
    if len(rows) < 2:
        return None
    files = picture_files(stem)
    with new_figure(WIDTH, EDGES + ROW * len(rows), *files) as figure:
        axes = figure.subplots()
        for place, own in enumerate(rows):
            for line in own:
                _mark(axes, place, line)
        labels = [f"{own[0].run} ({_cost(own)})" for own in rows]
        axes.set_yticks(range(len(rows)), labels, fontsize=SMALL)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.axvline(1.0, color=INK, linewidth=1.0, zorder=1.5)
        axes.grid(axis="both", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        shown = {line.row.paradigm for own in rows for line in own}
        for paradigm in (name for name in PARADIGMS if name in shown):
            look = PARADIGMS[paradigm]
            axes.plot([], [], color=look.colour, marker=look.mark, linestyle="none", label=paradigm.upper())
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=SMALL)
        axes.set_title("the last version's perplexity over PTFS's, and what LRPS costs of PTFS")
    return files[0]


def _rows(lines: Sequence[Line]) -> list[list[Line]]:
    """The last versions' lines that have a ratio to PTFS, by run, of runs with LRPS among them."""
    rows = []
    for run in dict.fromkeys(line.run for line in lines):
        ours = [line for line in lines if line.run == run and line.row.paradigm == "lrps"]
        if not ours:
            continue
        last = ours[-1].row.version
        own = [
            line
            for line in lines
            if line.run == run and line.row.version == last and line.row.paradigm != "ptfs" and line.ratio("ptfs")
        ]
        if any(line.row.paradigm == "lrps" for line in own):
            rows.append(own)
    return rows


def _cost(own: Sequence[Line]) -> str:
    return next(f"{line.row.of_ptfs:.0%}" for line in own if line.row.paradigm == "lrps")


def _mark(axes: "Axes", place: int, line: Line) -> None:
    look, ratio = PARADIGMS[line.row.paradigm], line.ratio("ptfs")
    if ratio is not None:
        axes.errorbar(
            [ratio.mean], [place], xerr=[ratio.deviation or 0.0], color=look.colour, marker=look.mark, linestyle="none",
            capsize=3, markersize=6, linewidth=1.6,
        )  # fmt: skip
