"""The data that a path reads: index prefixes (X.bin with X.idx) by window. Reads no file's content."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.branch_data import all_branches, data_key
from megatron_lrps.plan.file_paths import within
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import PlannedPath, Tree
from megatron_lrps.plan.version_windows import Window
from megatron_lrps.plan.window_samples import portions_of, windows_read


def validation_sets(tree: Tree, path: PlannedPath) -> dict[str, Path]:
    """Return name -> index prefix of every validation set of the path's windows, e.g. ``v1-web``.

    A set that several versions name is evaluated once, under the first version's name for it.
    Raises PlanError if two different sets get one name.
    """
    sets: dict[str, Path] = {}
    for window in tree.windows_of(path):
        for name, prefix in window.version.valid.items():
            if prefix in sets.values():
                continue
            key = f"{window.version.name}-{name}"
            if key in sets:  # v-1's set `a` and v's set `1-a`
                raise PlanError(
                    f"versions.{window.version.name}.valid.{name}: two different sets would be called {key}.",
                    "rename this set.",
                )
            sets[key] = prefix
    return sets


def window_facts(tree: Tree, window: Window, known: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """Return a window in the form of records, checkpoints and ``--json``.

    Args:
        tree: The plan's tree.
        window: One of its windows.
        known: Returns the known facts on an index prefix's content; empty if only the plan is known.

    Returns:
        ``version``, ``iterations``, ``data``: [weight, prefix, known facts] of its own training data (prefixes
        in the campaign's folder are relative to it); and for a replay, ``replay``: ``share``, and ``samples`` by source
        version.
    """
    facts: dict[str, Any] = {
        "version": window.version.name,
        "iterations": window.iterations,
        "data": [
            [weight, within(prefix, tree.plan.folder), dict(known(prefix))] for weight, prefix in window.version.train
        ],
    }
    _, *replayed = portions_of(tree, window)
    if window.version.replay is not None:
        samples = {part.window.version.name: part.samples for part in replayed}
        share = window.version.replay.share
        if isinstance(share, str):
            share = sum(samples.values()) / tree.batches.between(window.start, window.end)
        facts["replay"] = {"share": share, "samples": samples}
    return facts


def blend_facts(tree: Tree, path: PlannedPath, known: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the blend that a path draws its samples from, as records, checkpoints and ``--json`` have it.

    Args:
        tree: The plan's tree.
        path: One of its paths.
        known: As in ``window_facts``.

    Returns:
        ``blend``: ``version`` and ``fork`` of the path, and ``data`` as in ``window_facts``; empty for other orders.
    """
    if path.order != "blend":
        return {}
    data = [[weight, within(prefix, tree.plan.folder), dict(known(prefix))] for weight, prefix in path.blend]
    return {"blend": {"version": path.branch_of, "fork": path.fork, "data": data}}


def missing_indexes(tree: Tree) -> list[Path]:
    """Return the prefixes in the plan whose .bin or .idx is missing."""
    named = [prefix for window in tree.windows for _, prefix in window.version.train]
    named += [prefix for path in tree.paths for _, prefix in path.blend]
    named += [prefix for path in tree.paths for prefix in validation_sets(tree, path).values()]
    return [prefix for prefix in dict.fromkeys(named) if _lacking(prefix)]


def require_data(tree: Tree, path: PlannedPath, position: int = 0) -> None:
    """Refuse a path whose training or validation data are missing.

    Args:
        tree: The plan's tree.
        path: One of its paths.
        position: The path's current iteration; training data that it no longer reads may be gone.

    Raises:
        PlanError: naming the key.
    """
    trained_on = windows_read(tree, path, max(position, path.fork))
    for _, prefix in path.blend:
        _require(tree.plan, data_key(tree.plan, path), prefix, data_key(tree.plan, path).rpartition(".")[0])
    for window in tree.windows_of(path):
        key, named = f"versions.{window.version.name}", []
        if window in trained_on:
            if not window.version.train:
                raise PlanError(f"{key}.train is missing.", "add [weight, index prefix] pairs.")
            named += [("train", prefix) for _, prefix in window.version.train]
        named += [("valid", prefix) for prefix in window.version.valid.values()]
        for part, prefix in named:
            _require(tree.plan, f"{key}.{part}", prefix, key)


def has_sources(plan: Plan, prefix: Path) -> bool:
    """Whether the plan names the raw text from which `lrps prepare` makes an index."""
    listed = [version.sources for version in plan.versions] + [branch.sources for _, _, branch in all_branches(plan)]
    return any(prefix in sources for sources in listed)


def _require(plan: Plan, key: str, prefix: Path, section: str) -> None:
    """Refuse an index that ``key`` names and that is missing; ``section`` may have the ``sources`` to make it from."""
    if lacking := _lacking(prefix):
        raise PlanError(f"{key}: {prefix} has no {' and '.join(lacking)}.", _fix_of_missing(plan, section, prefix))


def _fix_of_missing(plan: Plan, key: str, prefix: Path) -> str:
    if has_sources(plan, prefix):
        return "make it from its `sources`: lrps prepare PLAN."
    if prefix.suffix in _FILES and not _lacking(prefix.with_suffix("")):
        return f"name it without {prefix.suffix}."
    return f"correct the path; or name its raw text under {key}.sources, and make it: lrps prepare PLAN."


_FILES = (".bin", ".idx")


def _lacking(prefix: Path) -> list[str]:
    """Return an index's missing files."""

    def there(file: Path) -> bool:
        try:
            return file.is_file()
        except OSError:  # a name that is too long, a folder without permission
            return False

    return [ending for ending in _FILES if not there(Path(f"{prefix}{ending}"))]
