"""``lrps import`` by Megatron-LRPS itself: the plan is compared first, and the logits before the folder is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from megatron_lrps.convert.huggingface_config import set_aside
from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION, plan_import, write_import
from megatron_lrps.convert.logits_check import Compared, check_copy
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.convert.model_flags import plan_lines, refuse_other_plan
from megatron_lrps.convert.weight_files import read_config
from megatron_lrps.plan import Plan


class CheckedImport(NamedTuple):
    """The result of `lrps import`.

    Attributes:
        words: The model in words.
        vocab: The number of its tokens.
        rows: The rows of the word embedding, padding included.
        bytes: The size of all weights.
        left_out: The number of weights that stay behind.
        lines: The lines of a plan that starts from it, under ``megatron:``.
        compared: The result of the check, or None without one.
    """

    words: str
    vocab: int
    rows: int
    bytes: int
    left_out: int
    lines: list[str]
    compared: Compared | None


def comparable(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the keys of a folder's config.json that transformers is to compute with otherwise to be compared.

    Args:
        folder: The Hugging Face folder.
        say: Called with a line for each.
    """
    aside = set_aside(read_config(folder / "config.json"))
    for key, (given, neutral) in aside.items():
        say(f"transformers alone computes with {key} {given}, so the comparison lets it compute with {neutral}")
    return {key: neutral for key, (_, neutral) in aside.items()}


def import_from_hugging_face(
    folder: Path, target: Path, *, plan: Plan | None, check: bool | None, say: Callable[[str], None]
) -> CheckedImport:
    """Import a model of the families of Megatron-LRPS.

    Args:
        folder: The Hugging Face folder.
        target: The folder of the checkpoint, which does not exist yet.
        plan: The plan that is to start from it, or None.
        check: Compare the logits with transformers'; None does it if the machine can.
        say: Called with a line for each step.

    Raises:
        RefusedError: as ``plan_import``; the plan is of another model; ``target`` exists; or the check fails.
        StorageError: the disk fails; nothing is left that looks whole.
    """
    planned = plan_import(folder)
    model, where = planned.model, str(target.absolute())
    if plan is not None:
        refuse_other_plan(plan, model, where, str(folder))
    compared: Compared | None = None

    def verify(hidden: Path) -> None:
        nonlocal compared
        compared = check_copy(
            check,
            hidden / WITHOUT_ITERATION,
            folder,
            args_of(model),
            vocab=model.vocab,
            elements=planned.elements,
            config=comparable(folder, say),
            name=target,
            say=say,
        )

    done = write_import(planned, target, verify=verify)
    return CheckedImport(
        words=f"a {model.family} model",
        vocab=model.vocab,
        rows=done.rows,
        bytes=done.bytes,
        left_out=len(planned.left_out),
        lines=plan_lines(model, where),
        compared=compared,
    )
