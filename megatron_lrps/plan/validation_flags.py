"""Validation flags: the plan's ``valid`` names a path's sets, and `megatron:` may not contradict it. Pure.

Megatron's own flags evaluate a number of iterations on a split of the training data. A plan names whole sets instead,
so that the losses of all paths can be compared. Without any set, Megatron would fail after its last save.
"""

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.data_files import validation_sets
from megatron_lrps.plan.keys.flag_values import FlagValue
from megatron_lrps.plan.keys.values import shown
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import PlannedPath, Tree

EVAL_ITERS, NAMES = "eval-iters", "validation-set-names"
_SWITCHES = ("full-validation", "multiple-validation-sets")
DECIDED = (EVAL_ITERS, NAMES, *_SWITCHES)
"""Flags that ``versions[].valid`` sets."""


def validation_flags(tree: Tree, path: PlannedPath) -> dict[str, FlagValue]:
    """Return Megatron's flags for the path's validation sets, or for none.

    Raises:
        PlanError: a flag in ``megatron:`` contradicts the plan's validation.
    """
    refuse_contradicted_validation(tree.plan)
    sets = validation_sets(tree, path)
    if not sets:
        return {EVAL_ITERS: 0, NAMES: False, **dict.fromkeys(_SWITCHES, False)}
    return {
        EVAL_ITERS: 1,  # full validation overwrites it with each set's length
        **dict.fromkeys(_SWITCHES, True),
        NAMES: list(sets),
    }


def refuse_contradicted_validation(plan: Plan) -> None:
    """Refuse flags that request an evaluation without data, or one that differs from the plan's sets.

    Raises:
        PlanError: naming the flag, its value, the plan's value, and the fix.
    """
    key = next((f"versions.{version.name}.valid" for version in plan.versions if version.valid), None)
    for flag in DECIDED:
        value = plan.megatron.get(flag)
        if value is None or value is (flag in _SWITCHES and key is not None) or (key is None and repr(value) == "0"):
            continue
        if key is None:
            raise PlanError(
                f"megatron.{flag}: {shown(value)} asks for an evaluation, but no version has validation data.",
                f"name them by `valid`, e.g. valid: {{web: data/valid/web}}, or remove {flag}.",
            )
        raise PlanError(
            f"megatron.{flag}: {shown(value)} is given, but {key} decides it: each of its sets is evaluated as a "
            "whole.",
            "remove it; raise eval-interval to evaluate less often, or remove `valid` to evaluate never.",
        )
    if plan.megatron.get("eval-micro-batch-size", 1) != 1 and key is not None:
        raise PlanError(
            f"megatron.eval-micro-batch-size: {shown(plan.megatron['eval-micro-batch-size'])} is given, but Megatron "
            f"reads the samples of whole sets ({key}) one at a time.",
            "remove it.",
        )
    interval = plan.megatron.get("eval-interval", 1)
    if not str(interval).isdecimal() or int(str(interval)) < 1:
        raise PlanError(
            f"megatron.eval-interval: {shown(interval)} is not a number of iterations, 1 or more.",
            "correct it. To evaluate only at the end of a path, give a number above its length.",
        )
