"""``lrps export``: a checkpoint becomes a folder with weights, tokenizer, model card and a record."""

import json
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from megatron_lrps.convert.export_source import ExportSource
from megatron_lrps.convert.export_tokenizer import write_tokenizer
from megatron_lrps.convert.huggingface_config import config_of
from megatron_lrps.convert.huggingface_export import SHARD_BYTES, Exported, PlannedExport, plan_export, write_export
from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION
from megatron_lrps.convert.layout import Layout
from megatron_lrps.convert.logits_check import Compared, check_copy
from megatron_lrps.convert.megatron_export import FILE, plan_weights, write_torch, write_torch_dist
from megatron_lrps.convert.model_arguments import is_of_family
from megatron_lrps.convert.model_card import about_model
from megatron_lrps.convert.safetensors import dtype_name
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import read_json
from megatron_lrps.version import __version__

RECORD = "lrps.json"
"""The file in an export that records its source."""


class ExportedVersion(NamedTuple):
    """The result of `lrps export`.

    Attributes:
        folder: The folder of the export.
        written: The written files, or None if the export was there already.
        statement: A sentence on the tokenizer; empty if the export was there already.
        compared: The result of the check, or None without a check.
    """

    folder: Path
    written: Exported | None
    statement: str
    compared: Compared | None


def export_to_hugging_face(
    source: ExportSource,
    *,
    output: Path | None = None,
    dtype: str | None = None,
    workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    allow: Collection[str] = (),
    family: str | None = None,
    check: bool | None = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedVersion:
    """Export to a Hugging Face folder. An export that was made from the same checkpoint stays.

    Args:
        source: The source.
        output: The folder, instead of ``source.target``.
        dtype: ``bf16``, ``fp32``, or None to keep the saved one.
        workers: The number of files written at a time.
        shard_bytes: The size of the largest file.
        allow: As in ``refuse_other_forward``.
        family: As in ``model_of_args``.
        check: Compare the logits with Megatron's; None does it if the machine can, on a fresh export.
        say: Called with a line for each step.

    Raises:
        RefusedError: the model cannot be exported, another export is there, or the check fails.
        StorageError: the disk fails; nothing is left that looks whole.
    """
    target, opened = output or source.target, source.opened
    planned = plan_export(opened, vocab=source.vocab, dtype=dtype, allow=allow, family=family)
    record = {**source.record, "dtype": dtype_name(planned.main_dtype), "family": family}
    statement = ""

    def around(hidden: Path) -> None:
        nonlocal statement
        statement = _write_beside(hidden, source, planned, record)

    compared = None

    def verify(folder: Path) -> None:
        nonlocal compared
        compared = check_copy(
            check,
            opened.folder,
            folder,
            opened.args,
            vocab=planned.model.vocab,
            elements=planned.elements,
            dtype=planned.dtype,
            name=target,
            say=say,
        )

    write = partial(
        write_export, planned, target, around=around, verify=verify, shard_bytes=shard_bytes, workers=workers
    )
    written = made_once(source, target, record, write, say)
    if written is None and check:
        verify(target)
    return ExportedVersion(target, written, statement, compared)


def export_to_megatron(
    source: ExportSource,
    form: Literal["torch", "torch_dist"],
    *,
    layout: Layout,
    output: Path | None = None,
    dtype: str | None = None,
    check: bool | None = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedVersion:
    """Export weights for Megatron; otherwise like ``export_to_hugging_face``.

    Args:
        source: The source.
        form: ``torch`` for one file, or ``torch_dist`` for a checkpoint that Megatron loads.
        layout: The layout to load it with.
        output: The folder, instead of one beside ``source.target``.
        dtype: ``bf16``, ``fp32``, or None to keep the saved one.
        check: Compare the logits of the export with those of the source's checkpoint, both by Megatron; or None.
        say: Called with a line for each step.
    """
    ending = "torch" if form == "torch" else layout.name
    target, opened = output or source.target.with_name(f"{source.target.name}-{ending}"), source.opened
    weights = plan_weights(opened, vocab=source.vocab, layout=layout, dtype=dtype)
    record = {
        **source.record,
        "dtype": dtype_name(weights.blocks[0].dtype),
        "form": form,
        **layout.record,
    }

    compared = None

    def verify(folder: Path) -> None:
        nonlocal compared
        if check is None and not is_known(source):
            say("logits are not compared: the check builds only models of the Hugging Face families")
            return
        compared = check_copy(
            check,
            opened.folder,
            folder / WITHOUT_ITERATION,
            opened.args,
            vocab=source.vocab,
            elements=weights.elements,
            dtype=weights.dtype,
            by="Megatron",
            name=target,
            say=say,
        )

    around = partial(write_record, record)
    write = partial(write_torch, weights, target, around=around)
    if form == "torch_dist":
        write = partial(write_torch_dist, weights, target, around=around, verify=verify)
    written = made_once(source, target, record, write, say)
    if written is None and check:
        verify(target)
    if form == "torch":
        statement = f"torch.load({str(target / FILE)!r}, weights_only=True) opens it."
    else:
        flags = " ".join(weights.flags)
        statement = f"Megatron loads it on {layout.ranks} ranks with --load {target} {flags}"
    return ExportedVersion(target, written, statement, compared)


def is_known(source: ExportSource) -> bool:
    """Whether the model is of a Hugging Face family, so that Megatron's forward can be built for it on its own."""
    return is_of_family(source.opened.args, source.vocab)


def made_once(
    source: ExportSource,
    target: Path,
    record: dict[str, Any],
    write: Callable[[], Exported],
    say: Callable[[str], None],
) -> Exported | None:
    """Write an export and note it, unless it is there already.

    Args:
        source: The source.
        target: The folder of the export.
        record: The facts of the export; what is there with other facts is refused.
        write: Writes the folder whole.
        say: Called with a line when it begins.

    Returns:
        What was written, or None if it was there.

    Raises:
        RefusedError: another export is there; and what ``write`` raises.
    """
    if target.is_symlink() or target.exists():
        if {key: (read_json(target / RECORD) or {}).get(key) for key in record} != record:
            raise RefusedError(
                f"{target} exists already, but was not made from {source.opened.folder} with these settings.",
                "move it away, or give another --output.",
            )
        return None
    say(f"exporting {source.words} to {target}")
    written = write()
    source.note(target, record)
    return written


def _write_beside(hidden: Path, source: ExportSource, planned: PlannedExport, record: dict[str, Any]) -> str:
    """Write everything but the weights; return a sentence on the tokenizer."""
    model, dtype = planned.model, record["dtype"]
    config = config_of(model, dtype=dtype, bos=None, eos=source.eod)
    about, positions = about_model(model, dtype), model.positions
    tokenizer = write_around(hidden, source, config, about=about, positions=positions, ignored=planned.ignored)
    write_record(record, hidden)
    return tokenizer


def write_around(
    hidden: Path, source: ExportSource, config: dict[str, Any], *, about: str, positions: int, ignored: Sequence[str]
) -> str:
    """Write what transformers reads beside the weights, and the card.

    Args:
        hidden: The folder of the export, which has not got its name yet.
        source: The source.
        config: The content of config.json.
        about: A sentence on the model.
        positions: The tokens that the model was trained for, at most.
        ignored: The parts of the checkpoint without a place in the export.

    Returns:
        A sentence on the tokenizer.
    """
    _write_json(hidden / "config.json", config)
    _write_json(hidden / "generation_config.json", {"bos_token_id": None, "eos_token_id": source.eod})
    tokenizer = "The tokenizer is not part of this export."
    if source.spec is not None:
        tokenizer = write_tokenizer(source.spec, hidden, max_length=positions).statement
    (hidden / "README.md").write_text(source.card(about, tokenizer, ignored), encoding="utf-8")
    return tokenizer


def write_record(record: dict[str, Any], hidden: Path) -> None:
    """Write the facts of an export into its folder."""
    _write_json(hidden / RECORD, {**record, "lrps": __version__})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file of an export that has not got its name yet."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
