"""The epochs of each index in ``lrps plan``, by the version windows that draw from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.data_ledger import Range, totals_of
from megatron_lrps.campaign.epochs import branch_reads, limit_of, planned_data, planned_windows, whole_windows
from megatron_lrps.monitor.text_table import epochs_words, table
from megatron_lrps.plan import Tree
from megatron_lrps.plan.file_paths import within


def window_epochs(tree: Tree) -> list[dict[str, Any]]:
    """Return what each window draws from which index, as in ``lrps plan --json``.

    Returns:
        Per window ``version``, ``iterations``, ``samples``, ``replay`` (as in records, or null), ``max_epochs``, and
        ``data[]``: ``version``, ``prefix``, ``replayed``, ``samples``, ``tokens``, ``epochs`` and ``epochs_in_all``,
        those of the windows before with it; null if the index is missing.
    """
    windows = planned_windows(tree)
    ranges = whole_windows(tree, windows)
    return [
        {
            "version": stretch.version,
            "iterations": stretch.until - stretch.start,
            "samples": stretch.samples,
            "replay": windows[number].get("replay"),
            "max_epochs": limit_of(tree, stretch.version),
            "data": _data(stretch, ranges[: number + 1]),
        }
        for number, (window, stretch) in enumerate(zip(tree.windows, ranges, strict=True))
        if not window.adopted
    ]


def branch_epochs(tree: Tree) -> list[dict[str, Any]]:
    """Return what each branch with data of its own draws, as in ``lrps plan --json``.

    Returns:
        Per such branch ``path``, ``version``, ``order``, ``iterations``, ``samples``, ``sequence_length``,
        ``max_epochs``, and ``data[]`` as ``window_epochs`` has them. ``epochs_in_all`` counts what main has read up to
        the fork too.
    """
    windows, found = planned_windows(tree), []
    for path in tree.paths:
        if path.kind == "branch" and path.order != "chained":
            reads = branch_reads(tree, path, planned_data(tree, path, windows))
            own = [stretch for stretch in reads if stretch.path == path.name]
            found.append(
                {
                    "version": path.branch_of,
                    **{key: getattr(path, key) for key in ("order", "iterations")},
                    "path": path.name,
                    "samples": tree.samples(path),
                    "sequence_length": tree.plan_of(path).sequence_length,
                    "max_epochs": limit_of(tree, str(path.branch_of)),
                    "data": [each for stretch in own for each in _data(stretch, reads)],
                }
            )
    return found


def _data(stretch: Range, so_far: Sequence[Range]) -> list[dict[str, Any]]:
    in_all = {total.prefix: total.epochs for total in totals_of(so_far)}
    return [
        {
            **{key: getattr(drawn, key) for key in ("version", "prefix", "replayed", "samples")},
            "tokens": drawn.known.get("tokens"),
            "epochs": drawn.epochs,
            "epochs_in_all": in_all[drawn.prefix],
        }
        for drawn in stretch.drawn
    ]


def epochs_table(windows: Sequence[Mapping[str, Any]], branches: Sequence[Mapping[str, Any]], base: Path) -> str:
    """Format ``window_epochs`` and ``branch_epochs`` of the existing indexes, a line each; empty if there are none."""
    rows = []
    for window in (*windows, *branches):
        reader = f"{window['version']}, by its branch" if "path" in window else window["version"]
        for each in window["data"]:
            if each["tokens"] is None:
                continue
            name = within(each["prefix"], base) + (", replayed" if each["replayed"] else "")
            above = each["epochs_in_all"] is None or each["epochs_in_all"] > window["max_epochs"]
            epochs = (epochs_words(each[key]) for key in ("epochs", "epochs_in_all"))
            limit = f"{window['max_epochs']:g}{' is passed' if above else ''}"
            rows.append((reader, name, each["samples"], each["tokens"], *epochs, limit))
    header = ("window", "data", "samples", "tokens in it", "epochs", "in all", "max_epochs")
    return table(header, rows) if rows else ""
