"""Contradictions between a plan's parts, whatever its paradigm; all functions raise PlanError."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.file_paths import within
from megatron_lrps.plan.keys.merging import Merge
from megatron_lrps.plan.keys.paths_and_cuts import Cut
from megatron_lrps.plan.keys.values import MAX_COUNT
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import PlannedPath
from megatron_lrps.plan.version_windows import Window
from megatron_lrps.schedule.batches import Batches
from megatron_lrps.schedule.paradigms import MAIN, branch_length


def refuse_shared_data(plan: Plan) -> None:
    """Refuse training data that are used twice, or also for validation.

    Every window draws from the start of its indexes: a second window on the same index would read the same samples
    again, and its version would learn nothing new.
    """
    seen: dict[Path, str] = {}
    for version in plan.versions:
        for _, prefix in version.train:
            key = f"versions.{version.name}.train"
            if prefix in seen:
                shown = within(prefix, plan.base)
                raise PlanError(
                    f"{key}: {shown} is in {seen[prefix]} too, so its samples would be read again.",
                    "give every window an index of its own. To read data again on purpose, use `replay`.",
                )
            seen[prefix] = key
    for version in plan.versions:
        for name, prefix in version.valid.items():
            if prefix in seen:
                shown = within(prefix, plan.base)
                raise PlanError(
                    f"versions.{version.name}.valid.{name}: {shown} is in {seen[prefix]} too, so the model would be "
                    "validated on what it was trained on.",
                    "hold out data that no version trains on.",
                )


def refuse_twins(key: str, names: list[str]) -> None:
    """Refuse duplicate names; ``key`` is the plan's list that they are in."""
    # Case-insensitive file systems would put two such paths into one folder.
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise PlanError(
                f"{key}: {name!r} and {seen[name.lower()]!r} are the same name on some file systems."
                if name != seen[name.lower()]
                else f"{key}: {name!r} is given twice.",
                "rename one of them.",
            )
        seen[name.lower()] = name
    if key == "versions" and MAIN in seen:
        raise PlanError(f"versions: the name {seen[MAIN]!r} belongs to the main path.", "rename the version.")


def refuse_impossible_fork(plan: Plan, window: Window) -> None:
    """Refuse a branch of less than one iteration, and one that would fork before main has warmed up or trained.

    Every suggested fix works by itself. No path forks at the iteration up to which main is adopted, since its
    fork point would be in no folder of the campaign.
    """
    alpha, warm = plan.decay_of(window.version).alpha, plan.lr.warmup_iters
    begins = plan.main.iteration if plan.main else 0
    start, iterations = window.start, window.iterations
    least_fork = max(warm, begins)

    def possible(alpha: float, iterations: int) -> bool:  # main must also train past its warm-up
        fork = start + iterations - branch_length(alpha, iterations)
        return alpha * iterations >= 1 and fork > least_fork

    fork, fixes = window.end - branch_length(alpha, iterations), []
    if alpha * iterations >= 1 and fork >= max(warm, begins + 1):
        return
    if short := alpha * iterations < 1:
        what = f"alpha {alpha:g} of {iterations} iterations is less than one iteration"
    elif fork < warm:
        what = f"the branch would fork at iteration {fork}, before the warm-up ends at iteration {warm}"
    else:
        own = " itself, because it is adopted up to there" if begins else ""
        what = f"the branch would fork at iteration {fork}, before which main trains nothing{own}"
    length = 1 if short else window.end - least_fork - 1
    for rounding in (ROUND_CEILING, ROUND_FLOOR):
        share = float(Context(prec=3, rounding=rounding).divide(length, iterations))
        if possible(share, iterations):
            fixes.append(f"{'raise' if short else 'lower'} decay.alpha to {share:g} or {'more' if short else 'less'}")
            break
    if 1 <= fork < warm and not short:
        fixes.append(f"lower lr.warmup_iters to {fork - 1} or less")
    if alpha < 1:
        least = max(iterations + 1, 1 / alpha, (least_fork + 1 - start) / (1 - alpha) - 1)
        if least < MAX_COUNT:
            longer = next((n for n in range(math.ceil(least), math.ceil(least) + 4) if possible(alpha, n)), None)
            fixes += [f"make the version at least {longer} iterations long"] if longer else []
    key = f"versions.{window.version.name}"
    raise PlanError(f"{key}: {what}.", f"{', or '.join(fixes) or 'make the version longer, and lower decay.alpha'}.")


def refuse_useless_merges(plan: Plan) -> None:
    """Refuse merges in a plan where nothing would be merged: its paths are listed, or none of its paradigms merges."""
    merged = [f"versions.{version.name}.merge" for version in plan.versions if version.merge]
    keys = (["merge"] if plan.merge is not None else []) + merged
    if keys and plan.paths:
        raise PlanError(f"{keys[0]}: it is given beside `paths`, of which nothing is merged.", "keep one of the two.")
    if keys and not {"lrps", "ptfs-merged"}.intersection(plan.paradigm):
        raise PlanError(
            f"{keys[0]}: the paradigms of the plan merge nothing: {', '.join(plan.paradigm)}.",
            "add lrps or ptfs-merged to `paradigm`, or remove it.",
        )


def refuse_impossible_merge(plan: Plan, window: Window, merge: Merge) -> None:
    """Refuse a merge whose first checkpoint lies before main is at the maximal rate, or in an adopted run."""
    key, warm = f"versions.{window.version.name}", plan.lr.warmup_iters
    begins = plan.main.iteration if plan.main else 0
    try:
        parts = merge.spec().parts(MAIN, window.end)
    except ValueError as error:
        raise PlanError(
            f"{key}: {error}.", f"raise merge.window, or merge fewer checkpoints than {merge.checkpoints}."
        ) from None
    first = parts[0].iteration
    if first > begins and first >= warm:
        return
    why = (
        f"the warm-up ends at iteration {warm}"
        if first < warm
        else f"main.iteration is {begins}, up to which main is adopted"
    )
    least = max(begins + 1, warm)
    share = (window.end - least) / window.end
    lower = f"lower merge.window below {share:.2g}, or " if share > 0.01 else ""
    raise PlanError(
        f"{key}: the first checkpoint of its merge is at iteration {first}, and {why}.",
        f"{lower}make the version longer.",
    )


def refuse_impossible_cut(plan: Plan, cut: Cut) -> None:
    """Refuse a cut that forks off main before the end of its warm-up, or at its adopted iteration."""
    key, warm = f"cuts.{cut.name}", plan.lr.warmup_iters
    if cut.fork < warm:
        raise PlanError(
            f"{key}.fork: {cut.fork} is before the warm-up ends at iteration {warm}.", "choose a later fork."
        )
    if plan.main is not None and cut.fork <= plan.main.iteration:
        raise PlanError(
            f"{key}.fork: {cut.fork} is not after main.iteration {plan.main.iteration}, up to which main is adopted.",
            "choose a later fork.",
        )


def refuse_impossible_warmup(plan: Plan, first: Window, paradigm: str) -> None:
    """Refuse a warm-up too long for the first version of PTFS or CPT, and a missing one that is to be repeated."""
    warm = plan.lr.warmup_iters
    if paradigm == "cpt-rewarm" and not warm:
        raise PlanError(
            "paradigm: cpt-rewarm warms up again for lr.warmup_iters, which is 0.", "raise lr.warmup_iters, or use cpt."
        )
    if warm >= first.end:
        raise PlanError(
            f"lr.warmup_iters: {warm} reaches past the end of version {first.version.name} at iteration {first.end}.",
            f"lower it below {first.end}.",
        )


def refuse_unfitting_ends(paths: list[PlannedPath], windows: tuple[Window, ...], batches: Batches) -> None:
    """Refuse paths that read past the timeline, or that end inside their warm-up."""
    last = windows[-1].end
    for path in paths:
        if path.end > last:
            key, fix = f"paths.{path.name}.end", f"end it at {last}"
            if path.kind != "explicit":
                key, fix = f"cuts.{path.name}.iters", "give it fewer iterations"
            raise PlanError(
                f"{key}: the path ends at iteration {path.end}, and the last window at iteration {last}.",
                f"{fix}, or add a version.",
            )
        # Megatron asserts that a path is longer than its warm-up.
        if path.schedule.warmup >= batches.samples(path.end):
            raise PlanError(
                f"path {path.name}: its warm-up ends at iteration {batches.iteration(path.schedule.warmup)}, "
                f"and the path itself ends at {path.end}.",
                "shorten the warm-up, or make the path longer.",
            )


def refuse_rising_branch(path: PlannedPath, batches: Batches) -> None:
    """Refuse a branch that decays across a step of the batch: a branch keeps the batch of its fork point.

    Main reads on in the same samples with the larger batch, so a branch that kept the smaller one would end at another
    iteration than its window, and one that took the larger one would decay in larger and larger steps.
    """
    if path.kind not in ("branch", "soup") or (step := batches.rises_in(path.fork, path.end)) is None:
        return
    before = batches.batch_after(path.fork)
    raise PlanError(
        f"path {path.name}: it decays over the iterations ({path.fork}, {path.end}], and the batch rises from {before} "
        f"to {step.batch} after iteration {step.iteration} (sample {step.sample:,}); a branch keeps its batch.",
        f"let the batch rise by sample {batches.samples(path.fork):,}, or after {batches.samples(path.end):,}; or "
        "lower decay.alpha.",
    )
