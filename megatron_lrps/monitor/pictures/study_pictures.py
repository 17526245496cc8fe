"""Pictures of a study: paradigms side by side, explicit paths with their learning rates, and runs of LRPS alone."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_lrps.monitor.pictures.canvas import SMALL, count_iterations, new_figure, picture_files
from megatron_lrps.monitor.pictures.colours import FAINT, INK, LOOKS, PARADIGMS, Look
from megatron_lrps.monitor.pictures.learning_rate_picture import curve_of
from megatron_lrps.monitor.pictures.study_ratios import draw_ratios
from megatron_lrps.monitor.study_results import TO_PTFS, Line, Spread, spread
from megatron_lrps.plan import Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1200, 480
ASIDE = 0.06
"""The distance of one paradigm's bars from the next one's, in versions."""


def draw_study(lines: Sequence[Line], trees: Mapping[str, Tree], folder: Path) -> list[Path]:
    """Draw the results of a study as PNG and SVG, 1200 x 480.

    Args:
        lines: The study's results.
        trees: Run -> its tree, for the learning rates.
        folder: Gets ``runs/<run>.png`` for a run of several paradigms or of explicit paths, ``lrps.png`` if
            runs can be compared by LRPS alone, from seeds that all of them have, and ``over-ptfs.png`` if several
            can be compared with PTFS.

    Returns:
        The PNG files.

    Raises:
        StorageError: The disk fails.
    """
    drawn, alone = [], False
    for run in dict.fromkeys(line.run for line in lines):
        found = [line for line in lines if line.run == run]
        paradigms = {line.row.paradigm for line in found}
        if paradigms == {"explicit"}:
            drawn.append(_picture(folder / "runs" / run, partial(_draw_paths, lines=found, tree=trees[run])))
        elif len(paradigms) > 1:
            drawn.append(_picture(folder / "runs" / run, partial(_draw_paradigms, lines=found)))
        else:
            alone = alone or paradigms == {"lrps"}
    ours = [line for line in lines if line.row.paradigm == "lrps"]
    common = set.intersection(*(set(line.perplexity) for line in ours)) if ours else set()
    if alone and common:
        drawn.append(_picture(folder / "lrps", partial(_draw_alone, lines=ours, seeds=common)))
    return [*drawn, *filter(None, [draw_ratios(lines, folder / "over-ptfs")])]


def _picture(stem: Path, draw: Callable[["Figure"], None]) -> Path:
    files = picture_files(stem)
    with new_figure(WIDTH, HEIGHT, *files) as figure:
        draw(figure)
    return files[0]


def _draw_paradigms(figure: "Figure", lines: Sequence[Line]) -> None:
    left, right = figure.subplots(1, 2)
    versions = list(dict.fromkeys(line.row.version for line in lines))
    paradigms = list(dict.fromkeys(line.row.paradigm for line in lines))
    for number, paradigm in enumerate(paradigms):
        own = [line for line in lines if line.row.paradigm == paradigm]
        look = PARADIGMS[paradigm]
        aside = ASIDE * (number - (len(paradigms) - 1) / 2)
        places = [versions.index(line.row.version) + aside for line in own]
        _bars(left, places, [line.spread for line in own], look, joined=True, label=paradigm.upper())
        ratios = [line.ratio("ptfs") for line in own]
        if paradigm != "ptfs":
            _bars(right, places, ratios, look, joined=True)
    left.set_title(f"{lines[0].run}: perplexity by version{_seeds(lines)}")
    right.set_title("over PTFS's, seed by seed")
    for place, name, side in ((1.0, "PTFS", "top"), (TO_PTFS, f"{TO_PTFS:g}", "bottom")):
        right.axhline(place, color=INK if place == 1.0 else FAINT, linewidth=1.0, zorder=1.5)
        # Outside, where no bar is; above the upper line and below the lower, as the two may be a pixel apart.
        right.annotate(name, (1.01, place), xycoords=("axes fraction", "data"), ha="left", va=side, fontsize=SMALL)
    for axes in (left, right):
        axes.set_xticks(range(len(versions)), versions)
    left.legend(handlelength=3.5)


def _draw_paths(figure: "Figure", lines: Sequence[Line], tree: Tree) -> None:
    """Draw the learning rates of the paths, and the last version's results; a path's colour is its end's."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    left, right = figure.subplots(1, 2)
    last = [line for line in lines if line.row.version == lines[-1].row.version]
    colours = {
        line.row.path: to_hex(colormaps["viridis"](0.9 * number / max(1, len(last) - 1)))
        for number, line in enumerate(last)
    }
    shared = [path.parent for path in tree.paths if path.name in colours]
    for path in tree.paths:
        heirs = [name for name in colours if path.name in (name, tree.path(name).parent)]
        colour = colours[heirs[0]] if len(heirs) == 1 else INK
        left.plot(*curve_of(tree, path), color=colour, linewidth=2.5 if shared.count(path.name) > 1 else 1.8)
    count_iterations(left, 0, max(path.end for path in tree.paths))
    left.set_ylim(bottom=0.0)
    left.set_title(f"{lines[0].run}: learning rates")
    for place, line in enumerate(last):
        _bars(right, [place], [line.spread], LOOKS["versions"]._replace(colour=colours[line.row.path]))
    right.set_xticks(range(len(last)), [line.row.path for line in last], rotation=30, ha="right", fontsize=SMALL)
    right.set_title(f"perplexity of {last[0].row.version} by path{_seeds(last)}")


def _draw_alone(figure: "Figure", lines: Sequence[Line], seeds: set[int]) -> None:
    runs = list(dict.fromkeys(line.run for line in lines))
    versions = list(dict.fromkeys(line.row.version for line in lines))
    versions = versions[1:] or versions
    panels = figure.subplots(1, len(versions), squeeze=False)[0]
    for version, axes in zip(versions, panels, strict=True):
        own = [line for line in lines if line.row.version == version]
        found = [spread([line.perplexity[seed] for seed in sorted(seeds)]) for line in own]
        _bars(axes, [runs.index(line.run) for line in own], found, PARADIGMS["lrps"])
        labels = [f"{line.run} ({line.row.of_ptfs:.0%})" for line in own]
        axes.set_xticks([runs.index(line.run) for line in own], labels, rotation=60, ha="right", fontsize=SMALL)
        axes.set_title(version)
        axes.ticklabel_format(axis="y", useOffset=False)
    counted = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    panels[0].set_ylabel(f"perplexity of LRPS ({counted}), and its cost of PTFS", fontsize=SMALL)


def _seeds(lines: Sequence[Line]) -> str:
    counts = sorted({len(line.perplexity) for line in lines})
    named = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return f", mean ± deviation of {named} seeds" if counts[-1] > 1 else ", one seed"


def _bars(
    axes: "Axes", places: Sequence[float], values: Sequence[Spread | None], look: Look, *, joined: bool = False,
    label: str | None = None,
) -> None:  # fmt: skip
    known = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
    axes.errorbar(
        [place for place, _ in known],
        [value.mean for _, value in known],
        yerr=[value.deviation or 0.0 for _, value in known],
        color=look.colour, marker=look.mark, linestyle=look.line if joined else "none", capsize=3, markersize=5,
        linewidth=1.6, label=label,
    )  # fmt: skip
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
