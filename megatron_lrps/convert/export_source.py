"""What an export is made from: a version of a campaign, or any torch_dist checkpoint that carries its arguments."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.checkpoint import TRACKER, Checkpoint, Checkpoints, is_complete
from megatron_lrps.campaign.lineage import chain_of, facts_of, ledger_of
from megatron_lrps.campaign.manifest import read_manifest
from megatron_lrps.campaign.releases import note
from megatron_lrps.convert.model_card import lineage_of, model_card, plain_card
from megatron_lrps.convert.torch_dist import OpenCheckpoint, open_checkpoint
from megatron_lrps.convert.version_checkpoint import VersionCheckpoint
from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from megatron_lrps.data.prepare.encoders.choose import load_reference
from megatron_lrps.data.prepare.encoders.encoder import TokenizerSpec
from megatron_lrps.data.prepare.encoders.spec import spec_of, spec_of_arguments
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.file_paths import within

Card = Callable[[str, str, Sequence[str]], str]
"""Makes a model card of a sentence on the model, a sentence on the tokenizer, and what is not exported."""


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """The source of an export.

    Attributes:
        opened: The checkpoint.
        vocab: The number of tokens of the tokenizer.
        eod: The id that ends a document, or None if it is not known.
        spec: The tokenizer, or None if its files are not known.
        target: The folder of the export, unless another is given.
        words: The source in words.
        record: The facts that tell exports of different sources apart.
        card: Makes the model card.
        note: Called with the folder and the facts of a finished export.
    """

    opened: OpenCheckpoint
    vocab: int
    eod: int | None
    spec: TokenizerSpec | None
    target: Path
    words: str
    record: dict[str, Any]
    card: Card
    note: Callable[[Path, dict[str, Any]], None]


def source_of_version(version: VersionCheckpoint, *, of_bridge: bool = False) -> ExportSource:
    """Return a version as a source; raises RefusedError if its tokenizer or its checkpoint cannot be read.

    Args:
        version: The version.
        of_bridge: As in ``open_checkpoint``.
    """
    plan = version.campaign.plan
    spec = spec_of(plan)
    encoder = load_reference(spec)
    opened = open_checkpoint(version.checkpoint.folder, of_bridge=of_bridge)
    _refuse_other_tokenizer(opened, spec)

    def card(about: str, tokenizer: str, ignored: Sequence[str]) -> str:
        links = chain_of(version.campaign, version.facts)
        of_path = [facts_of(version.campaign, link.path) for link in links]
        ranges = ledger_of(version.campaign, version.facts, links)
        return model_card(
            lineage_of(version.facts, links, of_path, ranges),
            about,
            name=version.name,
            iteration=version.iteration,
            sha256=version.sha256,
            tokenizer=tokenizer,
            ignored=ignored,
            base=plan.base.resolve(),
        )

    def noted(target: Path, record: dict[str, Any]) -> None:
        known = {key: record[key] for key in ("checkpoint_sha256", "dtype")}
        name = within(target.absolute(), version.campaign.folder.root)
        form = record.get("form", "hf")
        note(version.path_folder, "exports", name, iteration=version.iteration, format=form, **known)

    return ExportSource(
        opened=opened,
        vocab=encoder.vocab_size,
        eod=encoder.eod,
        spec=spec,
        target=version.export,
        words=f"{version.path} {version.iteration:,}",
        record={
            "format": 1,
            "campaign": plan.campaign,
            "version": version.name,
            "path": version.path,
            "iteration": version.iteration,
            "checkpoint_sha256": version.sha256,
        },
        card=card,
        note=noted,
    )


def source_of_checkpoint(
    folder: Path, target: Path, *, iteration: int | None, vocab: int | None, of_bridge: bool = False
) -> ExportSource:
    """Return any torch_dist checkpoint as a source.

    Args:
        folder: The folder of one checkpoint, or Megatron's ``--save`` folder.
        target: The folder of the export.
        iteration: The checkpoint in a ``--save`` folder; the one that Megatron's tracker names by default.
        vocab: The number of tokens; by default that of the tokenizer that the checkpoint's arguments name.
        of_bridge: As in ``open_checkpoint``.

    Raises:
        RefusedError: there is no such checkpoint, it does not carry its arguments, or the vocabulary is not known.
    """
    place = _checkpoint_in(folder, iteration)
    opened = open_checkpoint(place, of_bridge=of_bridge)
    args = opened.args
    spec = spec_of_arguments(args)
    encoder = load_reference(spec) if spec is not None else None
    if spec is not None:
        _refuse_other_tokenizer(opened, spec)
    known = encoder.vocab_size if encoder is not None else args.get("vocab_size")
    count = known if vocab is None else vocab
    if count is None:
        raise RefusedError(
            f"The tokenizer of {place} ({args.get('tokenizer_type')} {args.get('tokenizer_model')}) is not here, so "
            "the number of tokens is not known.",
            "give it with --vocab-size (without Megatron's padding).",
        )
    if vocab is not None and encoder is not None and vocab != encoder.vocab_size:
        raise RefusedError(
            f"--vocab-size is {vocab}, but the tokenizer of {place} has {encoder.vocab_size} tokens.",
            "leave --vocab-size out.",
        )
    manifest = read_manifest(place)
    metadata = hashlib.sha256((place / ".metadata").read_bytes()).hexdigest()
    record = {"format": 1, "checkpoint": str(place.resolve()), "iteration": args.get("iteration")}
    record |= {"checkpoint_sha256": manifest.digest if manifest else None, "metadata_sha256": metadata}

    def card(about: str, tokenizer: str, ignored: Sequence[str]) -> str:
        return plain_card(about, name=place.name, tokenizer=tokenizer, ignored=ignored)

    return ExportSource(
        opened=opened,
        vocab=count,
        eod=encoder.eod if encoder is not None else None,
        spec=spec,
        target=target,
        words=str(place),
        record=record,
        card=card,
        note=lambda target, record: None,
    )


def _checkpoint_in(folder: Path, iteration: int | None) -> Path:
    if iteration is None and is_complete(folder):
        return folder
    saved = Checkpoints.in_folder(folder)
    if iteration is None:
        try:
            named = (folder / TRACKER).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            named = ""
        if named == "release" and is_complete(folder / "release"):
            return folder / "release"
        iteration = int(named) if named.isdecimal() and named.isascii() else saved.newest
    if iteration not in saved.complete:
        there = ", ".join(f"{each:,}" for each in saved.complete) or "none"
        raise RefusedError(
            f"{folder} holds no finished torch_dist checkpoint{f' of iteration {iteration:,}' if iteration else ''}; "
            f"the iterations that it holds: {there}.",
            "give the folder of a checkpoint (iter_0001000), or Megatron's --save folder and --iteration.",
        )
    return Checkpoint(folder, iteration).folder


def _refuse_other_tokenizer(opened: OpenCheckpoint, spec: TokenizerSpec) -> None:
    try:
        trained = json.loads(opened.args.get("lrps_identity") or "{}").get("tokenizer")
    except (TypeError, ValueError, AttributeError, RecursionError):
        trained = None
    if trained is None or spec.model is None:
        return
    now = tokenizer_fingerprint(spec.model)
    if now != trained:
        raise RefusedError(
            f"The tokenizer's content is {now[:12]} now, but was {str(trained)[:12]} for {opened.folder}.",
            "restore the tokenizer that the campaign was started with.",
        )
