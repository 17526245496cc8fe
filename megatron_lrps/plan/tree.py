"""Expands a plan to its tree of paths, by the paradigms of ``schedule``."""

from collections.abc import Iterator
from typing import Any

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.branch_data import refuse_validated_blend, with_branch_data
from megatron_lrps.plan.contradictions import (
    refuse_impossible_cut,
    refuse_impossible_fork,
    refuse_impossible_merge,
    refuse_impossible_warmup,
    refuse_rising_branch,
    refuse_shared_data,
    refuse_twins,
    refuse_unfitting_ends,
    refuse_useless_merges,
)
from megatron_lrps.plan.explicit_paths import explicit_paths
from megatron_lrps.plan.keys.merging import Merge
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import PathKind, PlannedPath, Tree
from megatron_lrps.plan.version_windows import Window, windows_of
from megatron_lrps.plan.window_samples import portions_of
from megatron_lrps.schedule.paradigms import MAIN, PARADIGMS, Branch, Curve, VersionError, VersionUpdate


def expand(plan: Plan) -> Tree:
    """Return the plan's tree of paths.

    Raises:
        PlanError: Names are duplicated, or a fork or a schedule is impossible.
    """
    refuse_twins("versions", [version.name for version in plan.versions] + [cut.name for cut in plan.cuts])
    if plan.cuts and (plan.paths or "lrps" not in plan.paradigm):
        raise PlanError(
            "cuts: they fork off main, and the paradigm lrps, which has a main path, is not in the plan.",
            "add lrps to `paradigm`, or list the cuts as `paths`.",
        )
    refuse_useless_merges(plan)
    refuse_shared_data(plan)
    refuse_validated_blend(plan)
    windows = windows_of(plan)
    if plan.paths:
        if "paradigm" in plan.model_fields_set:
            raise PlanError(
                "paths: they are given beside `paradigm`, which draws its own paths.", "keep one of the two."
            )
        paths = explicit_paths(plan)
    else:
        paths = [path for paradigm in plan.paradigm for path in _paths(plan, windows, paradigm)]
    refuse_twins("paths", [path.name for path in paths])
    refuse_unfitting_ends(paths, windows, plan.batches)
    for path in paths:
        refuse_rising_branch(path, plan.batches)
    tree = Tree(plan, windows, tuple(paths))
    for window in windows:
        portions_of(tree, window)  # refuses an impossible replay
    return tree


def _paths(plan: Plan, windows: tuple[Window, ...], paradigm: str) -> Iterator[PlannedPath]:
    own = [window for window in windows if not window.adopted]
    only_lrps: dict[str, Any] = {}
    if paradigm == "lrps":
        for window in own:
            if (merge := plan.merge_of(window.version)) is not None:
                refuse_impossible_merge(plan, window, merge)
            else:
                refuse_impossible_fork(plan, window)
        for cut in plan.cuts:
            refuse_impossible_cut(plan, cut)
        only_lrps["cuts"] = [
            Branch(name=cut.name, fork=cut.fork, end=cut.fork + cut.iters, decay=plan.decay_of(cut).spec())
            for cut in plan.cuts
        ]
        only_lrps["begins"] = plan.main.iteration if plan.main else 0
    else:
        refuse_impossible_warmup(plan, windows[0], paradigm)
        for window in own if paradigm == "ptfs-merged" else ():
            refuse_impossible_merge(plan, window, plan.merge_of(window.version) or Merge())
    draw, versions = PARADIGMS[paradigm], [_update(plan, window) for window in own]
    try:
        for curve in draw(versions, warm=plan.lr.warmup_iters, batches=plan.batches, **only_lrps):
            is_main = paradigm == "lrps" and curve.name == MAIN
            path = PlannedPath(
                **vars(curve),
                kind=_kind(curve, paradigm),
                paradigm=paradigm,
                adopted=plan.main.adopt if plan.main and is_main else None,
            )
            yield with_branch_data(plan, windows, path) if path.kind in ("branch", "soup") else path
    except VersionError as error:
        key = "cuts" if error.version in {cut.name for cut in plan.cuts} else "versions"
        raise PlanError(
            f"{key}.{error.version}: {error}.", "make the version longer, or change lr.warmup_iters or decay."
        ) from None


def _update(plan: Plan, window: Window) -> VersionUpdate:
    decay, merge = plan.decay_of(window.version), plan.merge_of(window.version)
    return VersionUpdate(
        name=window.version.name,
        start=window.start,
        end=window.end,
        alpha=decay.alpha,
        decay=decay.spec(),
        merge=merge.spec() if merge else None,
        soup=plan.branch_of(window.version.name).soup,
    )


def _kind(curve: Curve, paradigm: str) -> PathKind:
    if curve.mean:
        return "merge" if len({part.path for part in curve.mean}) == 1 else "soup"
    if paradigm != "lrps":
        return "baseline"
    return "main" if curve.name == MAIN else "branch"
