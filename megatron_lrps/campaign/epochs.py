"""Epochs: how often a campaign's windows read their data, and the limit, as repeated data soon teach nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.data_ledger import Range, ranges_of, totals_of
from megatron_lrps.data.index_reader import token_count
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.branch_data import data_key
from megatron_lrps.plan.data_files import blend_facts, window_facts
from megatron_lrps.plan.paths import MAIN

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
        batches=tree.batches,
        sequence_length=tree.plan.sequence_length,
    )


def limit_of(tree: Tree, version: str) -> float:
    """Return a version's ``max_epochs``, or the campaign's."""
    own = next((each.max_epochs for each in tree.plan.versions if each.name == version), None)
    return tree.plan.max_epochs if own is None else own


def planned_data(tree: Tree, path: PlannedPath, windows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a path's data as its identity has them, with the token counts of indexes that can be read.

    Args:
        tree: The plan's tree.
        path: One of its paths.
        windows: The result of ``planned_windows``.
    """
    own = windows[: len(tree.data_windows(path))]
    return {"windows": own, "order": path.order, **blend_facts(tree, path, _tokens)}


def branch_reads(tree: Tree, path: PlannedPath, data: Mapping[str, Any]) -> list[Range]:
    """Return what the model at a branch's end has read: main's windows up to the fork, then what the branch reads."""
    batches, lengths = tree.batches, [each.sequence_length for each in (tree.plan, tree.plan_of(path))]
    by_main = {**data, "order": "chained"}
    return [
        *ranges_of(MAIN, by_main, 0, path.fork, batches=batches, sequence_length=lengths[0]),
        *ranges_of(path.name, data, path.fork, path.end, batches=batches, sequence_length=lengths[1]),
    ]


def refuse_repeats(tree: Tree, path: PlannedPath, data: Mapping[str, Any], position: int = 0) -> None:
    """Refuse a path that reads an index more often than ``max_epochs`` of the version that it is read for.

    Reads by earlier windows count as well. Indexes with an unknown number of tokens are left out.

    Args:
        tree: The plan's tree.
        path: One of its paths.
        data: Its data, as ``planned_data`` has them.
        position: The path's current iteration; windows before it are not refused any more.

    Raises:
        RefusedError: naming the version, the index, its epochs and the limit.
    """
    if path.kind == "branch" and path.order != "chained":
        reads = branch_reads(tree, path, data)
        own = {drawn.prefix: False for stretch in reads if stretch.path == path.name for drawn in stretch.drawn}
        _refuse_above(tree, str(path.branch_of), data_key(tree.plan, path), own, reads)
        return
    ranges = whole_windows(tree, data["windows"])
    for number, window in enumerate(ranges, 1):
        if path.order == "chained" and window.until <= max(position, path.fork):
            continue
        read_here = {drawn.prefix: drawn.replayed for drawn in window.drawn}
        _refuse_above(tree, window.version, f"versions.{window.version}", read_here, ranges[:number])


def _refuse_above(tree: Tree, version: str, key: str, read_here: Mapping[str, bool], ranges: Sequence[Range]) -> None:
    """Refuse the first index of ``read_here`` (prefix -> whether it is replayed) that the ranges read too often."""
    limit = limit_of(tree, version)
    of_branch = not key.startswith("versions.") or key.endswith(".data")
    for total in totals_of(ranges):
        if total.prefix not in read_here:
            continue
        if total.known.get("tokens") == 0:
            at = key if of_branch else f"{key}.train"
            raise RefusedError(f"{at}: {total.prefix} holds no tokens.", "prepare it again, or leave it out.")
        if total.epochs is not None and total.epochs > limit + _ROUNDING:
            how = "replays" if read_here[total.prefix] else "reads"
            who = f"{version} {how}" if of_branch else how
            own = any(each.name == version for each in tree.plan.versions)
            # Main's samples and those of a branch may have different lengths.
            length = tree.plan.of_branch(version).sequence_length if of_branch else tree.plan.sequence_length
            of_tokens = f" of {length} tokens" if length == tree.plan.sequence_length else ""
            raise RefusedError(
                f"{key}: {who} {total.prefix} to {total.epochs:.4g} epochs in all, {total.samples:,} samples"
                f"{of_tokens} out of {total.known['tokens']:,}{' tokens' * (not of_tokens)}; max_epochs is {limit:g}.",
                f"give more data, less {'replay' if how == 'replays' else 'weight'} or a shorter version; or raise "
                f"{f'versions.{version}.' if own else ''}max_epochs.",
            )
