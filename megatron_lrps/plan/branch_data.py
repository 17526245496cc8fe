"""What a branch reads (``branch.data``): on in its window, all windows so far mixed, or a blend of its own. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.branch_length import refuse_other_length
from megatron_lrps.plan.file_paths import within
from megatron_lrps.plan.keys.branch import Blend, BranchSettings
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import PlannedPath, Tree
from megatron_lrps.plan.version_windows import ADOPTED, Window


def with_branch_data(plan: Plan, windows: Sequence[Window], path: PlannedPath) -> PlannedPath:
    """Return a branch with the order and the blend that the plan gives it.

    Args:
        plan: The plan.
        windows: All its windows.
        path: A branch off main, with main's order.

    Raises:
        PlanError: the plan asks for windows that are not known, or that begin after the branch's end.
    """
    key, data = data_key(plan, path), plan.branch_of(path.branch_of).data
    refuse_other_length(plan, path.name, plan.branch_of(path.branch_of))
    if data == "window":
        return path
    if data == "mixed":
        if plan.main is not None:
            raise PlanError(
                f"{key}: mixed, for {path.name}, is given beside main.adopt, and what the adopted run has read is in "
                "no window that could be mixed.",
                "give a blend: a list of [weight, index prefix or version] pairs.",
            )
        return replace(path, order="mixed")
    return replace(path, order="blend", blend=_indexes(plan, windows, path, key, data))


def data_key(plan: Plan, path: PlannedPath) -> str:
    """Return the key of the plan that decides what a branch reads."""
    version = next((each for each in plan.versions if each.name == path.branch_of), None)
    own = version is not None and version.branch is not None and "data" in version.branch.model_fields_set
    return f"versions.{path.branch_of}.branch.data" if own else "branch.data"


def own_data_words(tree: Tree, path: PlannedPath) -> str:
    """Return what a branch reads in words, e.g. "the windows v1, v2 mixed"; empty if it reads on in its window."""
    if path.kind not in ("branch", "soup"):
        return ""
    if path.order == "chained":
        return "its window in another order" if path.strand > 1 else ""
    again = ", in another order" if path.strand > 1 else ""
    if path.order == "mixed":
        names = [each.version.name for each in tree.windows_of(path)]
        return f"the windows {', '.join(names)} mixed{again}" if len(names) > 1 else f"the window {names[0]} shuffled"
    blend = ", ".join(f"{weight:g} {within(prefix, tree.plan.base)}" for weight, prefix in path.blend)
    length = tree.plan_of(path).sequence_length
    long = f", in samples of {length:,} tokens" if length != tree.plan.sequence_length else ""
    return f"a blend of {blend}{long}{again}"


def all_branches(plan: Plan) -> Iterator[tuple[str, str | None, BranchSettings]]:
    """Yield (key, version, settings) of every ``branch`` that the plan writes; the campaign's belongs to no version."""
    yield "branch", None, plan.branch
    for each in plan.versions:
        if each.branch is not None:
            yield f"versions.{each.name}.branch", each.name, each.branch


def refuse_validated_blend(plan: Plan) -> None:
    """Refuse a blend that holds a validation set; raises PlanError. Train data of windows it may hold."""
    valid = {prefix: (each.name, name) for each in plan.versions for name, prefix in each.valid.items()}
    for key, _, settings in all_branches(plan):
        for _, part in () if isinstance(settings.data, str) else settings.data:
            if isinstance(part, Path) and part in valid:
                version, name = valid[part]
                raise PlanError(
                    f"{key}.data: {within(part, plan.base)} is versions.{version}.valid.{name} too, so the model would "
                    "be validated on what it was trained on.",
                    "hold out data that no branch trains on.",
                )


def _indexes(
    plan: Plan, windows: Sequence[Window], path: PlannedPath, key: str, blend: Blend
) -> tuple[tuple[float, Path], ...]:
    """Return the blend by index: a version's weight is shared out to its indexes, and what is named twice is added."""
    known = {each.version.name: each.version for each in windows if each.start < path.end and not each.adopted}
    found: dict[Path, float] = {}
    for weight, part in blend:
        if isinstance(part, Path):
            found[part] = found.get(part, 0.0) + weight
            continue
        if part not in known:
            raise PlanError(f"{key}: {part} is {_why_not(plan, path, part)}.", _instead(known, part))
        train = known[part].train
        if not train:
            raise PlanError(f"{key}: {part} has no data, as versions.{part}.train is missing.", "add it.")
        for share, prefix in train:
            found[prefix] = found.get(prefix, 0.0) + weight * share / sum(each for each, _ in train)
    return tuple((weight, prefix) for prefix, weight in found.items())


def _why_not(plan: Plan, path: PlannedPath, name: str) -> str:
    if plan.main is not None and name == ADOPTED:
        return "the adopted run, and no plan knows its data"
    if name in {version.name for version in plan.versions}:
        return f"a later version than {path.name}, so its window begins after this branch ends"
    return "no version of the plan"


def _instead(known: Iterable[str], name: str) -> str:
    return f"choose from {', '.join(known)}; or write ./{name} if it is an index beside the plan."
