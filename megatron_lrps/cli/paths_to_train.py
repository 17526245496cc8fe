"""Which paths ``lrps run`` and ``lrps submit`` are asked for, and what they say when all are trained."""

from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.flags import path_flags


def asked_paths(tree: Tree, path: str | None) -> list[PlannedPath]:
    """All paths, or the one named; raises PlanError if one of them cannot be launched."""
    asked = [tree.path(path)] if path else list(tree.paths)
    for each in asked:
        path_flags(tree, each)
    return asked


def nothing_to_do(tree: Tree, path: str | None) -> str:
    """The text for when everything that was asked for is trained."""
    what = f"Path {path} is" if path else f"All {len(tree.paths)} paths of campaign {tree.plan.campaign} are"
    return f"{what} trained; there is nothing to do."
