"""Epochs: how often a campaign's windows read their data, and the limit, as repeated data soon teach nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.data_ledger import Range, ranges_of, totals_of
from megatron_lrps.data.index_reader import token_count
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.data_files import window_facts

_ROUNDING = 1e-9


def planned_windows(tree: Tree) -> list[dict[str, Any]]:
    """Return all windows, with token counts for the indexes that can be read; no large read."""
    return [window_facts(tree, window, _tokens) for window in tree.windows]


def _tokens(prefix: Path) -> dict[str, int]:
    try:
        return {"tokens": token_count(prefix)}
    except RefusedError:
        return {}


def whole_windows(tree: Tree, windows: Sequence[Mapping[str, Any]]) -> list[Range]:
    """Return what each whole window draws from every index."""
    return ranges_of(
        "",
        {"windows": windows, "order": "chained"},
        0,
        sum(window["iterations"] for window in windows),
        batch=tree.plan.global_batch_size,
        sequence_length=tree.plan.sequence_length,
    )


def limit_of(tree: Tree, version: str) -> float:
    """Return a version's ``max_epochs``, or the campaign's."""
    own = next((each.max_epochs for each in tree.plan.versions if each.name == version), None)
    return tree.plan.max_epochs if own is None else own


def refuse_repeats(tree: Tree, path: PlannedPath, windows: Sequence[Mapping[str, Any]], position: int = 0) -> None:
    """Refuse a path whose windows read an index more often than their version's ``max_epochs``.

    Reads by earlier windows count as well. Indexes with an unknown number of tokens are left out.

    Args:
        tree: The plan's tree.
        path: One of its paths.
        windows: The windows of the path, in the form of ``plan.data.window_facts``.
        position: The path's current iteration; windows before it are not refused any more.

    Raises:
        RefusedError: naming the version, the index, its epochs and the limit.
    """
    ranges = whole_windows(tree, windows[: len(tree.windows_of(path))])
    for number, window in enumerate(ranges, 1):
        if path.order == "chained" and window.until <= max(position, path.fork):
            continue
        key, limit = f"versions.{window.version}", limit_of(tree, window.version)
        read_here = {drawn.prefix: drawn.replayed for drawn in window.drawn}
        for total in totals_of(ranges[:number]):
            if total.prefix not in read_here:
                continue
            if total.known.get("tokens") == 0:
                raise RefusedError(
                    f"{key}.train: {total.prefix} holds no tokens.", "prepare it again, or leave it out."
                )
            if total.epochs is not None and total.epochs > limit + _ROUNDING:
                how = "replays" if read_here[total.prefix] else "reads"
                raise RefusedError(
                    f"{key}: {how} {total.prefix} to {total.epochs:.4g} epochs in all, {total.samples:,} samples of "
                    f"{tree.plan.sequence_length} tokens out of {total.known['tokens']:,}; max_epochs is {limit:g}.",
                    f"give more data, less {'replay' if how == 'replays' else 'weight'} or a shorter version; or raise "
                    f"{key}.max_epochs.",
                )
