"""From a plan to its tree of paths: every path with its parent, fork, end, schedule and data order.

With N versions of T iterations and decay share alpha (arXiv 2410.04103, section 3):

- lrps: main holds the maximal LR to the last fork; version i decays over (iT - alpha T, iT].
- ptfs: version i runs the whole schedule over (0, iT], the data of windows 1..i mixed.
- cpt: version i restarts the schedule at max from version i-1's end, over ((i-1)T, iT].
- cpt-rewarm: the same, but each version after the first warms up from min to max again, over ``lr.warmup_iters``.
"""

from collections.abc import Callable
from functools import partial

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.adopted_window import adopted_window
from megatron_lrps.plan.blends import refuse_impossible_replay
from megatron_lrps.plan.contradictions import (
    branch_length,
    refuse_impossible_fork,
    refuse_shared_data,
    refuse_twins,
    refuse_unfitting_ends,
)
from megatron_lrps.plan.model import Cut, ExplicitPath, Plan, Version
from megatron_lrps.plan.paths import MAIN, PathKind, PlannedPath, Tree, Window
from megatron_lrps.schedule import (
    Schedule,
    Segment,
    branch_decay,
    hold_for_ever,
    warmup,
    whole_decay,
)

__all__ = ["MAIN", "PathKind", "PlannedPath", "Tree", "Window", "expand", "iterations_of"]


def expand(plan: Plan) -> Tree:
    """The plan's tree of paths.

    Raises:
        PlanError: for duplicate names, impossible forks and schedules.
    """
    refuse_twins("versions", [version.name for version in plan.versions] + [cut.name for cut in plan.cuts])
    if plan.cuts and (plan.paths or "lrps" not in plan.paradigm):
        raise PlanError("cuts: given without main's own paradigm.", "add lrps to `paradigm`, or list them as `paths`.")
    refuse_shared_data(plan)
    windows = _windows(plan)
    paths: list[PlannedPath] = []
    if plan.paths:
        if "paradigm" in plan.model_fields_set:
            raise PlanError("paths: given beside `paradigm`.", "keep one of them: a paradigm draws its own paths.")
        paths.extend(_explicit(plan))
    else:
        for paradigm in plan.paradigm:
            paths.extend(_PARADIGMS[paradigm](plan, windows))
    refuse_twins("paths", [path.name for path in paths])
    refuse_unfitting_ends(paths, windows, plan.global_batch_size)
    tree = Tree(plan, windows, tuple(paths))
    refuse_impossible_replay(tree)
    return tree


def iterations_of(plan: Plan, version: Version) -> int:
    """A version's size in iterations; tokens are rounded down to whole iterations, samples must fit."""
    batch, sequence = plan.global_batch_size, plan.sequence_length
    key = f"versions.{version.name}"
    if version.iters is not None:
        return version.iters
    if version.samples is not None:
        if version.samples % batch:
            below = version.samples // batch * batch
            raise PlanError(
                f"{key}.samples: {version.samples} is no multiple of global_batch_size {batch}.",
                f"give {below} or {below + batch}." if below else f"give {batch}.",
            )
        return version.samples // batch
    tokens = version.tokens or 0
    if tokens < batch * sequence:
        raise PlanError(
            f"{key}.tokens: {tokens} is less than one iteration of {batch * sequence} tokens.",
            "give more tokens, or a smaller global_batch_size.",
        )
    return tokens // (batch * sequence)


def _windows(plan: Plan) -> tuple[Window, ...]:
    windows = [*adopted_window(plan)]
    for version in plan.versions:
        start = windows[-1].end if windows else 0
        windows.append(Window(version=version, start=start, end=start + iterations_of(plan, version)))
    return tuple(windows)


def _lrps(plan: Plan, windows: tuple[Window, ...]) -> list[PlannedPath]:
    batch, warm = plan.global_batch_size, plan.lr.warmup_iters
    main = Schedule((*warmup(warm * batch), *hold_for_ever(warm * batch)))
    begins = plan.main.iteration if plan.main else 0
    branches: list[PlannedPath] = []
    for window in windows:
        if window.adopted:
            continue
        decay, name = plan.decay_of(window.version), window.version.name
        fork = window.end - branch_length(decay.alpha, window.iterations)
        key = f"versions.{name}"
        refuse_impossible_fork(key, window, decay.alpha, warm, begins)
        decayed = _drawn(key, branch_decay, decay.spec(), fork * batch, window.end * batch, batch=batch)
        branches.append(
            PlannedPath(
                name=name,
                kind="branch",
                paradigm="lrps",
                version=name,
                parent=MAIN,
                fork=fork,
                end=window.end,
                schedule=main.followed_by(decayed, fork * batch),
            )
        )
    branches += [_cut(plan, cut, main) for cut in plan.cuts]
    end = max(branch.fork for branch in branches)
    root = PlannedPath(
        name=MAIN,
        kind="main",
        paradigm="lrps",
        version=None,
        parent=None,
        fork=begins,
        end=end,
        schedule=main,
        adopted=plan.main.adopt if plan.main else None,
    )
    return [root, *branches]


def _cut(plan: Plan, cut: Cut, main: Schedule) -> PlannedPath:
    batch, warm, key = plan.global_batch_size, plan.lr.warmup_iters, f"cuts.{cut.name}"
    if cut.fork < warm:
        raise PlanError(f"{key}.fork: {cut.fork} is before the warm-up ends at iteration {warm}.", "cut it off later.")
    if plan.main is not None and cut.fork <= plan.main.iteration:
        raise PlanError(
            f"{key}.fork: {cut.fork} is not after main.iteration {plan.main.iteration}, up to which main is adopted.",
            "cut it off later.",
        )
    start, end = cut.fork * batch, (cut.fork + cut.iters) * batch
    decayed = _drawn(key, branch_decay, plan.decay_of(cut).spec(), start, end, batch=batch)
    return PlannedPath(
        name=cut.name,
        kind="branch",
        paradigm="lrps",
        version=cut.name,
        parent=MAIN,
        fork=cut.fork,
        end=cut.fork + cut.iters,
        schedule=main.followed_by(decayed, start),
    )


def _ptfs(plan: Plan, windows: tuple[Window, ...]) -> list[PlannedPath]:
    return [
        PlannedPath(
            name=f"ptfs-{window.version.name}",
            kind="baseline",
            paradigm="ptfs",
            version=window.version.name,
            parent=None,
            fork=0,
            end=window.end,
            schedule=_whole_from_scratch(plan, window),
            order="mixed",
        )
        for window in windows
    ]


def _cpt(plan: Plan, windows: tuple[Window, ...], *, rewarm: bool = False) -> list[PlannedPath]:
    paths: list[PlannedPath] = []
    batch, paradigm = plan.global_batch_size, "cpt-rewarm" if rewarm else "cpt"
    if rewarm and not plan.lr.warmup_iters:
        raise PlanError("paradigm: cpt-rewarm warms up again, and lr.warmup_iters is 0.", "raise it, or use cpt.")
    warm = plan.lr.warmup_iters * batch if rewarm else 0
    for window in windows:
        parent = paths[-1] if paths else None
        if parent is None:
            schedule = _whole_from_scratch(plan, window)
        else:
            start = window.start * batch
            spec = plan.decay_of(window.version).spec()
            key = f"versions.{window.version.name}"
            pieces = _drawn(key, whole_decay, spec, start, window.end * batch, after=start + warm, batch=batch)
            rewarmed = (Segment(kind="rewarm", start=start, end=start + warm),) if warm else ()
            schedule = parent.schedule.followed_by((*rewarmed, *pieces), start)
        paths.append(
            PlannedPath(
                name=f"{paradigm}-{window.version.name}",
                kind="baseline",
                paradigm=paradigm,
                version=window.version.name,
                parent=parent.name if parent else None,
                fork=window.start,
                end=window.end,
                schedule=schedule,
            )
        )
    return paths


_PARADIGMS: dict[str, Callable[[Plan, tuple[Window, ...]], list[PlannedPath]]] = {
    "lrps": _lrps,
    "ptfs": _ptfs,
    "cpt": _cpt,
    "cpt-rewarm": partial(_cpt, rewarm=True),
}


def _whole_from_scratch(plan: Plan, window: Window) -> Schedule:
    batch, warm = plan.global_batch_size, plan.lr.warmup_iters
    if warm >= window.end:
        raise PlanError(
            f"lr.warmup_iters: {warm} reaches past version {window.version.name}'s end at iteration {window.end}.",
            "lower it.",
        )
    spec = plan.decay_of(window.version).spec()
    key = f"versions.{window.version.name}"
    pieces = _drawn(key, whole_decay, spec, 0, window.end * batch, after=warm * batch, batch=batch)
    return Schedule((*warmup(warm * batch), *pieces))


def _drawn[**P](
    key: str, draw: Callable[P, tuple[Segment, ...]], *args: P.args, **kwargs: P.kwargs
) -> tuple[Segment, ...]:
    try:
        return draw(*args, **kwargs)
    except ValueError as error:
        raise PlanError(f"{key}: {error}.", "make the version longer, or change lr.warmup_iters or decay.") from None


def _explicit(plan: Plan) -> list[PlannedPath]:
    refuse_twins("paths", [path.name for path in plan.paths])
    done: dict[str, PlannedPath] = {}
    known = [version.name for version in plan.versions]
    for path in plan.paths:
        key = f"paths.{path.name}"
        if path.version is not None and path.version not in known:
            raise PlanError(f"{key}.version: {path.version!r} is no version.", f"name one of {', '.join(known)}.")
        parent = None
        if path.parent is not None:
            parent = done.get(path.parent)
            if parent is None:
                raise PlanError(
                    f"{key}.parent: {path.parent!r} is no path listed before it.",
                    "list parents before their children.",
                )
        fork = path.fork or 0
        if parent is not None and not parent.fork < fork <= parent.end:
            raise PlanError(
                f"{key}.fork: {fork} is outside of {parent.name}, which trains ({parent.fork}, {parent.end}].",
                f"fork off {parent.name} inside of it.",
            )
        if path.end <= fork:
            raise PlanError(f"{key}.end: {path.end} is not after its start {fork}.", "raise it.")
        done[path.name] = PlannedPath(
            name=path.name,
            kind="explicit",
            paradigm="explicit",
            version=path.version,
            parent=path.parent,
            fork=fork,
            end=path.end,
            schedule=_explicit_schedule(plan, path, parent),
            order=path.order,
        )
    return list(done.values())


def _explicit_schedule(plan: Plan, path: ExplicitPath, parent: PlannedPath | None) -> Schedule:
    batch = plan.global_batch_size
    fork = (path.fork or 0) * batch
    segments: list[Segment] = []
    position: int | None = fork
    try:
        for piece in path.schedule:
            if position is None:
                raise ValueError("a hold without `until` never ends, so nothing can follow it")
            until = None if piece.until is None else piece.until * batch
            decays = piece.kind not in ("warmup", "hold", "factor", "rewarm")
            segments.append(
                Segment(
                    kind="decay" if decays else piece.kind,  # type: ignore[arg-type]
                    start=position,
                    end=until,
                    shape=piece.kind if decays else None,
                    factor=piece.factor,
                )
            )
            position = until
        if position is not None and position < path.end * batch:
            raise ValueError(f"the schedule stops at iteration {position // batch}, before the end {path.end}")
        if parent is None:
            return Schedule(tuple(segments))
        return parent.schedule.followed_by(segments, fork, cut=fork == parent.end * batch)
    except ValueError as error:
        raise PlanError(f"paths.{path.name}.schedule: {error}.", "fix its pieces or the fork.") from None
