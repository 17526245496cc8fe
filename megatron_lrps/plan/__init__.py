"""The plan file: reading it, expanding it to a tree of paths, and making each path's Megatron flags. Pure."""

from megatron_lrps.plan.keys.versions import Version
from megatron_lrps.plan.load import load_plan, parse_plan, plan_hash, plan_text
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import PlannedPath, Tree
from megatron_lrps.plan.tree import expand
from megatron_lrps.plan.version_windows import Window

__all__ = [
    "Plan",
    "PlannedPath",
    "Tree",
    "Version",
    "Window",
    "expand",
    "load_plan",
    "parse_plan",
    "plan_hash",
    "plan_text",
]
