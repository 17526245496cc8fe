"""What a plan's parts may not say together, whatever its paradigm; all raise PlanError."""

from pathlib import Path

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.file_paths import within
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import MAIN, PlannedPath, Window


def refuse_shared_data(plan: Plan) -> None:
    """Refuse training data that are read twice, or that validate.

    Every window draws from the start of its indexes: a second one on the same index would read the first one's
    samples again, and its version would learn nothing new.
    """
    seen: dict[Path, str] = {}
    for version in plan.versions:
        for _, prefix in version.train:
            key = f"versions.{version.name}.train"
            if prefix in seen:
                shown = within(prefix, plan.base)
                raise PlanError(
                    f"{key}: {shown} is also in {seen[prefix]}, so its samples would be read again.",
                    "give every window an index of its own; what is to be read again on purpose is `replay`.",
                )
            seen[prefix] = key
    for version in plan.versions:
        for name, prefix in version.valid.items():
            if prefix in seen:
                shown = within(prefix, plan.base)
                raise PlanError(
                    f"versions.{version.name}.valid.{name}: {shown} is also in {seen[prefix]}, so the model would be "
                    "validated on what it was trained on.",
                    "hold out data of its own.",
                )


def refuse_twins(key: str, names: list[str]) -> None:
    """Refuse two equal names; ``key`` is the plan's list that they are in."""
    # Case-insensitive file systems would put two such paths into one folder.
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise PlanError(f"{key}: {name!r} and {seen[name.lower()]!r} are one name.", "rename one of them.")
        seen[name.lower()] = name
    if key == "versions" and MAIN in seen:
        raise PlanError(f"versions: the name {seen[MAIN]!r} is the main path's.", "rename the version.")


def refuse_unfitting_ends(paths: list[PlannedPath], windows: tuple[Window, ...], batch: int) -> None:
    """Refuse paths that read past the timeline, or that end inside of their warm-up."""
    last = windows[-1].end
    for path in paths:
        if path.end > last:
            raise PlanError(
                f"paths.{path.name}.end: {path.end} is past the last window's end at iteration {last}.",
                "end it there, or add a version.",
            )
        # Megatron asserts that a path is longer than its warm-up.
        if path.schedule.warmup >= path.end * batch:
            raise PlanError(
                f"path {path.name}: its warm-up ends at iteration {path.schedule.warmup // batch}, "
                f"and the path itself at {path.end}.",
                "shorten the warm-up, or make the path longer.",
            )
