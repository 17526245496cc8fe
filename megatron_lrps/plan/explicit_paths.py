"""A plan's ``paths:``: curves outside any paradigm, each with its parent, fork, end and pieces."""

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.contradictions import refuse_twins
from megatron_lrps.plan.keys.paths_and_cuts import ExplicitPath
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import PlannedPath
from megatron_lrps.schedule import Schedule, Segment, continuous_shapes


def explicit_paths(plan: Plan) -> list[PlannedPath]:
    """Return the paths that a plan lists itself.

    Raises:
        PlanError: A parent, a fork, an end or a schedule is impossible.
    """
    refuse_twins("paths", [path.name for path in plan.paths])
    done: dict[str, PlannedPath] = {}
    known = [version.name for version in plan.versions]
    for path in plan.paths:
        key = f"paths.{path.name}"
        if path.version is not None and path.version not in known:
            raise PlanError(f"{key}.version: {path.version!r} is not a version.", f"name one of {', '.join(known)}.")
        parent = None
        if path.parent is not None:
            parent = done.get(path.parent)
            if parent is None:
                raise PlanError(
                    f"{key}.parent: {path.parent!r} is not a path that is listed before it.",
                    "list parents before their children.",
                )
        fork = path.fork or 0
        if parent is not None and not parent.fork < fork <= parent.end:
            raise PlanError(
                f"{key}.fork: {fork} lies outside of {parent.name}, which trains ({parent.fork}, {parent.end}].",
                f"choose an iteration that {parent.name} trains.",
            )
        if path.end <= fork:
            raise PlanError(f"{key}.end: {path.end} is not after its start {fork}.", f"raise it above {fork}.")
        done[path.name] = PlannedPath(
            name=path.name,
            kind="explicit",
            paradigm="explicit",
            version=path.version,
            parent=path.parent,
            fork=fork,
            end=path.end,
            schedule=_schedule(plan, path, parent),
            order=path.order,
        )
    return list(done.values())


def _schedule(plan: Plan, path: ExplicitPath, parent: PlannedPath | None) -> Schedule:
    batches = plan.batches
    fork = batches.samples(path.fork or 0)
    segments: list[Segment] = []
    position: int | None = fork
    try:
        for piece in path.schedule:
            if position is None:
                raise ValueError("a hold without `until` never ends, so nothing can follow it")
            until = None if piece.until is None else batches.samples(piece.until)
            decays = piece.kind in continuous_shapes()
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
        if position is not None and position < batches.samples(path.end):
            raise ValueError(
                f"the schedule stops at iteration {batches.iteration(position)}, before the end {path.end}"
            )
        if parent is None:
            return Schedule(tuple(segments))
        return parent.schedule.followed_by(segments, fork, cut=path.fork == parent.end)
    except ValueError as error:
        raise PlanError(f"paths.{path.name}.schedule: {error}.", "correct its pieces, or the fork.") from None
