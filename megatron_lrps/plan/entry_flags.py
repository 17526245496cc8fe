"""Flags of Megatron that the package's own GPT entry, which `lrps run` and `lrps submit` start, does not honour. Pure.

Megatron's parser takes them all; an entry that does not read one trains another model, or other samples, without a
word. ``tests/training/megatron/test_gpt_flags.py`` compares what Megatron-LM's scripts read with what it reads.
"""

import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from typing import Any

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.keys.values import shown
from megatron_lrps.plan.megatron_arguments import by_flag
from megatron_lrps.plan.model import Plan

_PACKED = "the entry trains on plain sequences, one after another"
_HYBRID = "hybrid-layer-pattern says all that it did"
NOT_HONOURED: Mapping[str, str] = {
    "sft": _PACKED,
    "hybrid-context-parallel": _PACKED,
    "dataloader-inter-document-masking": _PACKED,
    "fim-data": "the entry fills in no middles",
    "logits-load-dir": "the entry does not distil",
    "per-dataset-sequences-path": "the windows' own indexes say how many sequences there are",
    "mtp-hybrid-override-pattern": _HYBRID,
    "is-hybrid-model": _HYBRID,
    "perform-rl-step": "the entry pretrains, and train_rl.py does reinforcement learning",
    "vision-pretraining": "the entry trains on text",
    "use-legacy-models": "the entry builds megatron-core's models",  # up to release 0.17
    "legacy-tokenizer": "the entry reads megatron-core's tokenizers",  # up to release 0.17
}
"""Flag without its dashes -> why the package's own entry refuses it."""
OWN_SCRIPT = "remove it, or start Megatron-LM's own script yourself: python -m megatron_lrps SCRIPT --lrps-plan ..."


def refuse_unfit_for_entry(plan: Plan) -> None:
    """Refuse what the package's own entry would ignore, and layers that it could not find; raises PlanError.

    A plan with ``script_flags`` is for a script of the user's own, and is not checked.
    """
    if plan.script_flags:
        return
    for flag, value in plan.megatron.items():
        why = None if value is False else _not_honoured(flag)
        if why is not None:
            raise PlanError(f"megatron.{flag}: {shown(value)} would not be honoured: {why}.", f"{OWN_SCRIPT}.")
    spec = plan.megatron.get("spec", False)
    if spec is False:
        return
    module, _ = spec_words(spec, "megatron.")
    top = module.partition(".")[0]
    # The ranks look into the current folder first.
    if plan.launch.slurm is None and PathFinder.find_spec(top, ["", *sys.path]) is None:
        raise PlanError(
            f"megatron.spec: there is no module {top} here, so {module} cannot be imported.",
            "correct its name, install it, or set PYTHONPATH to the folder that it is in.",
        )


def spec_words(spec: Any, prefix: str) -> tuple[str, str]:
    """Return the module and the name in it that ``spec`` gives.

    Args:
        spec: Its value.
        prefix: The prefix of a flag in messages: ``megatron.`` or ``--``.

    Raises:
        PlanError: it is not two texts.
    """
    match spec:
        case [str(module), str(name)]:
            return module, name
    raise PlanError(
        f"{prefix}spec: {shown(spec)} is not a module and a name in it.",
        "give two texts, such as [my_package.layers, my_layer_spec], or remove it for Megatron's own layers.",
    )


def is_not_honoured(flag: str) -> bool:
    """Whether the package's own entry refuses a flag, whatever its value."""
    return _not_honoured(flag) is not None


def _not_honoured(flag: str) -> str | None:
    argument = by_flag().get(flag)
    if argument is not None and argument.in_class == "other":
        return NOT_HONOURED.get(flag, "it belongs to a part of Megatron that trains something else")
    return NOT_HONOURED.get(flag)
