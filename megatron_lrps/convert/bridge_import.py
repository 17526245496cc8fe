"""An import through Megatron-Bridge: for families that Megatron-LRPS lacks.

Bridge's description of the model becomes the lines of a plan, or is refused where no lines can say it. Then
``bridge_worker.py`` writes the weights, and everything else is as in the other imports.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.checkpoint import TRACKER
from megatron_lrps.convert import engines
from megatron_lrps.convert.argument_flags import (
    all_arguments,
    flags_of_arguments,
    refuse_other_flags,
)
from megatron_lrps.convert.bridge_arguments import Described, described_arguments, refuse_beyond_arguments, text_of
from megatron_lrps.convert.bridge_task import run_worker
from megatron_lrps.convert.checked_import import CheckedImport, comparable
from megatron_lrps.convert.engines import Engine
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.config_keys import shown
from megatron_lrps.convert.forward_arguments import not_computed
from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION
from megatron_lrps.convert.logits_check import Compared, check_copy
from megatron_lrps.convert.mapping import elements
from megatron_lrps.convert.model_flags import lines_of_flags
from megatron_lrps.convert.staging import refuse_full_disk, staged
from megatron_lrps.convert.weight_files import read_config, read_folder
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.megatron_arguments import flag_of
from megatron_lrps.storage.files import write_atomic

_OTHER = "import another model, or train it in Megatron-Bridge's own loop."


def engine_for(folder: Path, asked: Engine | None, *, say: Callable[[str], None]) -> Engine:
    """Return the engine of an import: the asked one, or Bridge, where it is installed, for a family that is not here.

    A family that is here is never left to Bridge unasked: what its config.json is refused for, Bridge may pass over.

    Args:
        folder: The Hugging Face folder.
        asked: ``--engine``.
        say: Called with a line if Bridge is chosen though not asked for.

    Raises:
        RefusedError: the config.json cannot be read, or Bridge is asked for and not installed.
    """
    if asked is None:
        kind = read_config(folder / "config.json").get("model_type")
        if (isinstance(kind, str) and kind in FAMILIES) or not engines.has_bridge():
            return "lrps"
        say(f"Megatron-Bridge imports it, because Megatron-LRPS imports no model_type {shown(kind)}")
        return "bridge"
    if asked == "bridge":
        engines.refuse_no_bridge()
    return asked


def import_by_bridge(
    folder: Path, target: Path, *, plan: Plan | None, check: bool | None, say: Callable[[str], None]
) -> CheckedImport:
    """Import a model through Megatron-Bridge.

    Args:
        folder: As in ``import_from_hugging_face``.
        target: The folder of the checkpoint, which does not exist yet.
        plan: The plan that is to start from it, or None.
        check: False leaves out the comparison of logits with transformers'. Bridge may pass over a key of config.json,
            which shows in no weight, so that an import without it is unproved.
        say: Called with a line for each step.

    Raises:
        RefusedError: Bridge has no such model or not all of its weights, no plan can say what it is, the plan is of
            another model, ``target`` exists, or the check fails.
        LrpsError: Bridge fails; the error quotes its message.
        StorageError: the disk fails; nothing is left that looks whole.
    """
    name = folder / "config.json"
    config = read_config(name)
    if config.get("quantization_config") is not None:
        raise RefusedError(f"{name} has a quantization_config.", "import the weights in bf16.")
    weights = read_folder(folder).values()
    found = run_worker({"do": "describe", "folder": str(folder.absolute())})
    described = Described(found["fields"], found["defaults"], found["built_by"])
    refuse_beyond_arguments(described, str(name), _OTHER)
    given = described_arguments(described)
    flags = flags_of_arguments(given, str(name))
    where, vocab = str(target.absolute()), _vocab_of(described, config, name)
    if plan is not None:
        refuse_other_flags(plan, flags, where, str(name))
    args = all_arguments(given)
    if check is not False and (unbuilt := not_computed(args)) is not None:
        raise RefusedError(
            f"No CPU computes this model by Megatron ({flag_of(unbuilt)} {text_of(args[unbuilt])}), so nothing shows "
            f"that Megatron-Bridge describes {name} rightly.",
            "give --no-check, and compare the logits on a GPU before you train.",
        )
    compared: Compared | None = None
    refuse_full_disk(target, sum(elements(each.shape) * each.dtype.itemsize for each in weights))
    with staged(target) as hidden:
        checkpoint = hidden / WITHOUT_ITERATION
        checkpoint.mkdir()
        task = {"do": "import", "folder": str(folder.absolute()), "output": str(checkpoint.absolute()), "args": args}
        done = run_worker(task)
        write_atomic(hidden / TRACKER, WITHOUT_ITERATION)
        count = sum(elements(each.shape) for each in weights)
        if check is not False:
            compared = check_copy(
                True,
                checkpoint,
                folder,
                args,
                vocab=vocab,
                elements=count,
                config=comparable(folder, say),
                name=target,
                say=say,
            )
    architecture = next(iter(config.get("architectures") or ["model"]))
    return CheckedImport(
        words=f"a {text_of(architecture)}, converted by Megatron-Bridge {found['version']}",
        vocab=vocab,
        rows=done["rows"],
        bytes=done["bytes"],
        left_out=0,
        lines=lines_of_flags(flags, where),
        compared=compared,
    )


def _vocab_of(described: Described, config: dict[str, Any], name: Path) -> int:
    vocab, other = described.fields.get("vocab_size"), config.get("vocab_size")
    if not isinstance(vocab, int) or vocab != other:
        raise RefusedError(f"{name} has vocab_size {shown(other)}, and Megatron-Bridge makes {vocab} of it.", _OTHER)
    return vocab
