"""``lrps export``: a version's checkpoint becomes a folder with weights, tokenizer, model card and a record."""

import json
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from megatron_lrps.campaign.lineage import chain_of, facts_of, ledger_of
from megatron_lrps.campaign.releases import note
from megatron_lrps.convert.export_tokenizer import write_tokenizer
from megatron_lrps.convert.huggingface_config import config_of
from megatron_lrps.convert.huggingface_export import SHARD_BYTES, Exported, PlannedExport, plan_export, write_export
from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION
from megatron_lrps.convert.logits_check import Compared, check_copy
from megatron_lrps.convert.megatron_export import FILE, Layout, plan_weights, write_torch, write_torch_dist
from megatron_lrps.convert.model_card import lineage_of, model_card
from megatron_lrps.convert.torch_dist import OpenCheckpoint, open_checkpoint
from megatron_lrps.convert.version_checkpoint import VersionCheckpoint
from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from megatron_lrps.data.prepare.encoders.choose import load_reference
from megatron_lrps.data.prepare.encoders.encoder import Encoder, TokenizerSpec
from megatron_lrps.data.prepare.encoders.spec import spec_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.file_paths import within
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
    version: VersionCheckpoint,
    *,
    output: Path | None = None,
    dtype: str | None = None,
    workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    allow: Collection[str] = (),
    check: bool | None = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedVersion:
    """Export a version to a Hugging Face folder. An export that was made from the same checkpoint stays.

    Args:
        version: The version.
        output: The folder, instead of ``version.export``.
        dtype: ``bf16``, ``fp32``, or None to keep the saved one.
        workers: The number of files written at a time.
        shard_bytes: The size of the largest file.
        allow: As in ``refuse_other_forward``.
        check: Compare the logits with Megatron's; None does it if the machine can, on a fresh export.
        say: Called with a line for each step.

    Raises:
        RefusedError: the version cannot be exported, another export is there, or the check fails.
        StorageError: the disk fails; nothing is left that looks whole.
    """
    target = output or version.export
    opened, spec, encoder = _opened(version)
    planned = plan_export(opened, vocab=encoder.vocab_size, dtype=dtype, allow=allow)
    record = _record(version, planned.main_dtype)
    statement = ""

    def around(hidden: Path) -> None:
        nonlocal statement
        statement = _write_beside(hidden, version, planned, spec, encoder.eod, record)

    compared = None

    def verify(folder: Path) -> None:
        nonlocal compared
        compared = check_copy(
            check,
            version.checkpoint.folder,
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
    written = _made(version, target, record, write, say)
    if written is None and check:
        verify(target)
    return ExportedVersion(target, written, statement, compared)


def export_to_megatron(
    version: VersionCheckpoint,
    form: Literal["torch", "torch_dist"],
    *,
    layout: Layout,
    output: Path | None = None,
    dtype: str | None = None,
    check: bool | None = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedVersion:
    """Export a version's weights for Megatron; otherwise like ``export_to_hugging_face``.

    Args:
        version: The version.
        form: ``torch`` for one file, or ``torch_dist`` for a checkpoint that Megatron loads.
        layout: The layout to load it with.
        output: The folder, instead of one beside ``version.export``.
        dtype: ``bf16``, ``fp32``, or None to keep the saved one.
        check: Compare the logits of the export with those of the version's checkpoint, both by Megatron; or None.
        say: Called with a line for each step.
    """
    ending = "torch" if form == "torch" else f"tp{layout.tensor}-pp{layout.pipeline}"
    target = output or version.export.with_name(f"{version.export.name}-{ending}")
    opened, _, encoder = _opened(version)
    weights = plan_weights(opened, vocab=encoder.vocab_size, layout=layout, dtype=dtype)
    record = {
        **_record(version, weights.blocks[0].dtype),
        "form": form,
        "tensor_parallel": layout.tensor,
        "pipeline_parallel": layout.pipeline,
    }

    compared = None

    def verify(folder: Path) -> None:
        nonlocal compared
        compared = check_copy(
            check,
            version.checkpoint.folder,
            folder / WITHOUT_ITERATION,
            opened.args,
            vocab=encoder.vocab_size,
            elements=weights.elements,
            dtype=weights.dtype,
            by="Megatron",
            name=target,
            say=say,
        )

    around = partial(_write_record, record)
    write = partial(write_torch, weights, target, around=around)
    if form == "torch_dist":
        write = partial(write_torch_dist, weights, target, around=around, verify=verify)
    written = _made(version, target, record, write, say)
    if written is None and check:
        verify(target)
    if form == "torch":
        statement = f"torch.load({str(target / FILE)!r}, weights_only=True) opens it."
    else:
        flags = " ".join(weights.flags)
        statement = f"Megatron loads it on {layout.tensor * layout.pipeline} ranks with --load {target} {flags}"
    return ExportedVersion(target, written, statement, compared)


def _opened(version: VersionCheckpoint) -> tuple[OpenCheckpoint, TokenizerSpec, Encoder]:
    spec = spec_of(version.campaign.plan)
    encoder = load_reference(spec)
    opened = open_checkpoint(version.checkpoint.folder)
    _refuse_other_tokenizer(opened.args, spec, version.checkpoint.folder)
    return opened, spec, encoder


def _rounded(dtype: torch.dtype | None) -> str | None:
    return str(dtype).removeprefix("torch.") if dtype else None


def _record(version: VersionCheckpoint, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "format": 1,
        "campaign": version.campaign.plan.campaign,
        "version": version.name,
        "path": version.path,
        "iteration": version.iteration,
        "checkpoint_sha256": version.sha256,
        "dtype": _rounded(dtype),
    }


def _made(
    version: VersionCheckpoint,
    target: Path,
    record: dict[str, Any],
    write: Callable[[], Exported],
    say: Callable[[str], None],
) -> Exported | None:
    """Write the export and note it. None if it is there already; refuses one that was made from something else."""
    if target.is_symlink() or target.exists():
        if {key: (read_json(target / RECORD) or {}).get(key) for key in record} != record:
            raise RefusedError(
                f"{target} exists already, but was not made from {version.checkpoint.folder} with these settings.",
                "move it away, or give another --output.",
            )
        return None
    say(f"exporting {version.path} {version.iteration:,} to {target}")
    written = write()
    known = {key: record[key] for key in ("checkpoint_sha256", "dtype")}
    name = within(target.absolute(), version.campaign.folder.root)
    note(version.path_folder, "exports", name, iteration=version.iteration, format=record.get("form", "hf"), **known)
    return written


def _refuse_other_tokenizer(args: Any, spec: TokenizerSpec, name: Path) -> None:
    try:
        trained = json.loads(args.get("lrps_identity") or "{}").get("tokenizer")
    except (TypeError, ValueError, AttributeError, RecursionError):
        trained = None
    if trained is None or spec.model is None:
        return
    now = tokenizer_fingerprint(spec.model)
    if now != trained:
        raise RefusedError(
            f"The tokenizer's content is {now[:12]} now, but was {str(trained)[:12]} for {name}.",
            "restore the tokenizer that the campaign was started with.",
        )


def _write_beside(
    hidden: Path,
    version: VersionCheckpoint,
    planned: PlannedExport,
    spec: TokenizerSpec,
    eod: int,
    record: dict[str, Any],
) -> str:
    """Write everything but the weights; return a sentence on the tokenizer."""
    model = planned.model
    _write_json(hidden / "config.json", config_of(model, dtype=record["dtype"], bos=None, eos=eod))
    _write_json(hidden / "generation_config.json", {"bos_token_id": None, "eos_token_id": eod})
    tokenizer = write_tokenizer(spec, hidden, max_length=model.positions).statement
    links = chain_of(version.campaign, version.facts)
    of_path = [facts_of(version.campaign, link.path) for link in links]
    ranges = ledger_of(version.campaign, version.facts, links)
    card = model_card(
        lineage_of(version.facts, links, of_path, ranges),
        model,
        name=version.name,
        iteration=version.iteration,
        sha256=version.sha256,
        dtype=record["dtype"],
        tokenizer=tokenizer,
        ignored=planned.ignored,
        base=version.campaign.plan.base.resolve(),
    )
    (hidden / "README.md").write_text(card, encoding="utf-8")
    _write_record(record, hidden)
    return tokenizer


def _write_record(record: dict[str, Any], hidden: Path) -> None:
    _write_json(hidden / RECORD, {**record, "lrps": __version__})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
