"""Whether a campaign's windows shift: whether later windows cost main or a version what earlier ones have taught."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from megatron_lrps.monitor.scalars import Runs, finite
from megatron_lrps.monitor.text_table import number_words
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.data_files import validation_sets
from megatron_lrps.plan.paths import MAIN

RISE = 0.05
"""The rise of a loss (nats a token) from which windows count as shifting; it is 5 % of perplexity."""


class Rise(NamedTuple):
    """The change of the loss on an earlier window's validation set.

    Attributes:
        who: The version, or main.
        where: The set, as Megatron logs it, such as ``v1-web``.
        before: The loss at the end of the set's own version, or where its window ends on main.
        after: The later loss.
        iteration: The iteration of the later loss.
    """

    who: str
    where: str
    before: float
    after: float
    iteration: int


def window_shift(tree: Tree, runs: Runs) -> str:
    """Return whether the windows shift, as one sentence with the largest rise and the keys that help.

    Args:
        tree: The plan's tree.
        runs: Path -> tag -> what it logged; the tags ``lm loss validation-<set>`` are read.

    Returns:
        The sentence; empty if no loss on an earlier window's set can be compared yet.
    """
    # Versions are what is released; main alone tells before two of them are trained.
    found = [*_of_versions(tree, runs)] or [*_of_main(tree, runs)]
    if not found:
        return ""
    most = max(found, key=lambda each: each.after - each.before)
    rise = most.after - most.before
    losses = f"from {number_words(most.before, 3)} to {number_words(most.after, 3)}"
    if rise < RISE:
        return (
            f"No loss of {'main' if most.who == MAIN else 'a version'} on an earlier window's validation set has risen "
            f"by {RISE:g} or more: at most, that of {most.who} on {most.where} went {losses}, at iteration "
            f"{most.iteration:,}."
        )
    return (
        f"The windows shift: the loss of {most.who} on {most.where} rose by {number_words(rise, 3)}, {losses}, at "
        f"iteration {most.iteration:,}. To keep what earlier windows taught, have main read them again "
        "(versions[].replay: even), or the branches (branch.data: mixed)."
    )


def _of_versions(tree: Tree, runs: Runs) -> Iterator[Rise]:
    """Compare each trained branch with that of an earlier version, on that version's sets, at their ends."""
    # A loss over longer samples is another measure.
    length = tree.plan.sequence_length
    same = [path for path in tree.paths if tree.plan_of(path).sequence_length == length]
    branches = {path.version: path for path in same if path.kind == "branch"}
    for version, tag, where in _sets(tree):
        first = branches.get(version)
        before = None if first is None else _at_end(first, runs, tag)
        for path in branches.values():
            after = _at_end(path, runs, tag)
            if first is not None and before is not None and after is not None and path.end > first.end:
                yield Rise(str(path.version), where, before, after, path.end)


def _of_main(tree: Tree, runs: Runs) -> Iterator[Rise]:
    """Compare main's latest loss on a window's sets with that where the window has ended."""
    ends: Mapping[str, int] = {window.version.name: window.end for window in tree.windows}
    starts: Mapping[str, int] = {window.version.name: window.start for window in tree.windows}
    for version, tag, where in _sets(tree):
        series = finite(runs.get(MAIN, {}).get(tag, []))
        inside = [loss for step, loss in series if starts[version] < step <= ends[version]]
        if inside and series[-1][0] > ends[version] and MAIN in tree.by_name:
            step, loss = series[-1]
            yield Rise(MAIN, where, inside[-1], loss, step)


def _sets(tree: Tree) -> Iterator[tuple[str, str, str]]:
    """Yield (version that names it first, tag of its loss, name) of every validation set."""
    names = {name: prefix for path in tree.paths for name, prefix in validation_sets(tree, path).items()}
    for name, prefix in names.items():
        version = next(window.version.name for window in tree.windows if prefix in window.version.valid.values())
        yield version, f"lm loss validation-{name}", name


def _at_end(path: PlannedPath, runs: Runs, tag: str) -> float | None:
    return dict(finite(runs.get(path.name, {}).get(tag, []))).get(path.end)
