"""A version's export: which checkpoint, with which tokenizer, and what stands beside the weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from megatron_lrps.campaign.lineage import chain_of, facts_of, ledger_of
from megatron_lrps.campaign.releases import note
from megatron_lrps.convert.export_tokenizer import Shipped, write_tokenizer
from megatron_lrps.convert.huggingface_config import config_of
from megatron_lrps.convert.huggingface_export import SHARD_BYTES, Exported, PlannedExport, plan_export, write_export
from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION
from megatron_lrps.convert.logits_check import Compared, compare_logits, probe_tokens
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

if TYPE_CHECKING:
    import torch

RECORD = "lrps.json"
"""What an export was made from, in its folder."""


class ExportedVersion(NamedTuple):
    """What `lrps export` did.

    Attributes:
        folder: The export.
        fresh: It was made now, and was not there already.
        written: The weights, or None where it was there.
        statement: On the tokenizer; empty where it was there.
        compared: What the check found, or None without one.
    """

    folder: Path
    fresh: bool
    written: Exported | None
    statement: str
    compared: Compared | None


def export_to_hugging_face(
    source: VersionCheckpoint,
    *,
    output: Path | None = None,
    dtype: str | None = None,
    workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    check: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedVersion:
    """Export a version; one that is there already, made from the same checkpoint, stays.

    Args:
        source: Its checkpoint.
        output: The folder, instead of ``source.target``.
        dtype: ``bf16``, ``fp32``, or None: as saved.
        workers: Files written at a time.
        shard_bytes: Largest file.
        check: Compare logits with Megatron's.
        say: Told what goes on.

    Raises:
        RefusedError: it cannot be exported, another export is there, or the check fails.
        StorageError: the disk refuses; nothing is left that looks whole.
    """
    target = output or source.target
    opened, spec, encoder = _opened(source)
    planned = plan_export(opened, vocab=encoder.vocab_size, dtype=dtype)
    record = _record(source, planned.main_dtype)
    shipped: list[Shipped] = []

    def around(hidden: Path) -> None:
        shipped.append(_write_beside(hidden, source, planned, spec, encoder.eod, record))

    def write() -> Exported:
        return write_export(planned, target, around=around, shard_bytes=shard_bytes, workers=workers)

    written = _made(source, target, record, write, say)
    compared = None
    if check:
        say("comparing logits with Megatron's")
        tokens = probe_tokens(planned.model.vocab, planned.model.positions)
        compared = compare_logits(
            source.folder, target, tokens, vocab=planned.model.vocab, dtype=_rounded(planned.dtype)
        )
    return ExportedVersion(target, written is not None, written, shipped[0].statement if shipped else "", compared)


def export_to_megatron(
    source: VersionCheckpoint,
    form: Literal["torch", "torch_dist"],
    *,
    layout: Layout,
    output: Path | None = None,
    dtype: str | None = None,
    check: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedVersion:
    """Export a version's weights as Megatron has them; otherwise as ``export_to_hugging_face``.

    Args:
        source: Its checkpoint.
        form: ``torch``: one file; ``torch_dist``: a checkpoint that Megatron loads.
        layout: That of the checkpoint.
        output: The folder, instead of one beside ``source.target``.
        dtype: ``bf16``, ``fp32``, or None: as saved.
        check: Compare the checkpoint's logits with the source's, both by Megatron.
        say: Told what goes on.
    """
    ending = "torch" if form == "torch" else f"tp{layout.tensor}-pp{layout.pipeline}"
    target = output or source.target.with_name(f"{source.target.name}-{ending}")
    opened, _, encoder = _opened(source)
    weights = plan_weights(opened, vocab=encoder.vocab_size, layout=layout, dtype=dtype)
    record = {
        **_record(source, weights.blocks[0].dtype),
        "form": form,
        "tensor_parallel": layout.tensor,
        "pipeline_parallel": layout.pipeline,
    }

    def around(hidden: Path) -> None:
        _write_json(hidden / RECORD, {**record, "lrps": __version__})

    def write() -> Exported:
        return (write_torch if form == "torch" else write_torch_dist)(weights, target, around=around)

    written = _made(source, target, record, write, say)
    if form == "torch":
        statement = f"torch.load({str(target / FILE)!r}, weights_only=True) opens it."
    else:
        flags = " ".join(weights.flags)
        statement = f"Megatron loads it on {layout.tensor * layout.pipeline} ranks with --load {target} {flags}"
    compared = None
    if check:
        say("comparing logits")
        tokens = probe_tokens(encoder.vocab_size, opened.args["max_position_embeddings"])
        compared = compare_logits(
            source.folder,
            target / WITHOUT_ITERATION,
            tokens,
            vocab=encoder.vocab_size,
            dtype=_rounded(weights.dtype),
            by="Megatron",
        )
    return ExportedVersion(target, written is not None, written, statement, compared)


def _opened(source: VersionCheckpoint) -> tuple[OpenCheckpoint, TokenizerSpec, Encoder]:
    spec = spec_of(source.tree.plan)
    encoder = load_reference(spec)
    opened = open_checkpoint(source.folder)
    _refuse_other_tokenizer(opened.args, spec, source.folder)
    return opened, spec, encoder


def _rounded(dtype: "torch.dtype | None") -> str | None:
    return str(dtype).removeprefix("torch.") if dtype else None


def _record(source: VersionCheckpoint, dtype: "torch.dtype") -> dict[str, Any]:
    return {
        "format": 1,
        "campaign": source.tree.plan.campaign,
        "version": source.version,
        "path": source.facts.name,
        "iteration": source.iteration,
        "checkpoint_sha256": source.sha256,
        "dtype": _rounded(dtype),
    }


def _made(
    source: VersionCheckpoint,
    target: Path,
    record: dict[str, Any],
    write: Callable[[], Exported],
    say: Callable[[str], None],
) -> Exported | None:
    """Write the export and note it; None where it is there already, made from the same. Refuses another one."""
    if target.is_symlink() or target.exists():
        if {key: (read_json(target / RECORD) or {}).get(key) for key in record} != record:
            raise RefusedError(
                f"{target} is there already, and was not made from {source.folder} with these settings.",
                "move it away, or give another --output.",
            )
        return None
    say(f"exporting {source.facts.name} {source.iteration:,} to {target}")
    written = write()
    known = {key: record[key] for key in ("checkpoint_sha256", "dtype")}
    own = source.campaign.path(source.facts.name)
    name = within(target.absolute(), source.campaign.root)
    note(own, "exports", name, iteration=source.iteration, format=record.get("form", "hf"), **known)
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
            f"The tokenizer's content is {now[:12]} now, and {str(trained)[:12]} in {name}.",
            "restore the tokenizer that the campaign was started with.",
        )


def _write_beside(
    hidden: Path,
    source: VersionCheckpoint,
    planned: PlannedExport,
    spec: TokenizerSpec,
    eod: int,
    record: dict[str, Any],
) -> Shipped:
    """Everything but the weights."""
    model = planned.model
    config = config_of(model, dtype=record["dtype"], bos=None, eos=eod)
    _write_json(hidden / "config.json", config)
    _write_json(hidden / "generation_config.json", {"bos_token_id": None, "eos_token_id": eod})
    shipped = write_tokenizer(spec, hidden, max_length=model.positions)
    links = chain_of(source.campaign, source.trees, source.facts)
    of_path = [facts_of(source.campaign, source.trees, link.path) for link in links]
    ranges = ledger_of(source.campaign, source.trees, source.facts, links)
    card = model_card(
        lineage_of(source.facts, links, of_path, ranges),
        model,
        name=source.version,
        iteration=source.iteration,
        sha256=source.sha256,
        dtype=record["dtype"],
        tokenizer=shipped.statement,
        ignored=planned.ignored,
        base=source.tree.plan.base.resolve(),
    )
    (hidden / "README.md").write_text(card, encoding="utf-8")
    _write_json(hidden / RECORD, {**record, "lrps": __version__})
    return shipped


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
