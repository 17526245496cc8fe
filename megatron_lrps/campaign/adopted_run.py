"""The run that a main path continues from. Its content identifies it, wherever its folder is."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.manifest import MANIFEST
from megatron_lrps.campaign.past_arguments import Change
from megatron_lrps.campaign.record import read_record
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import MAIN

_BLOCK = 64 * 1024


def content_of(checkpoint: Checkpoint) -> str | None:
    """Return a hash of a checkpoint's content; None if it is not whole.

    It covers each file's name, size and up to 64 KiB from its middle: the weights and moments of two runs differ
    everywhere, and a checkpoint of a thousand shards takes only seconds.
    """
    if not checkpoint.is_complete:
        return None
    whole = hashlib.sha256()
    try:
        for file in sorted(each for each in checkpoint.folder.iterdir() if each.is_file() and each.name != MANIFEST):
            with file.open("rb") as stream:
                size = stream.seek(0, 2)
                stream.seek(max(0, (size - _BLOCK) // 2))
                block = hashlib.sha256(stream.read(_BLOCK)).hexdigest()
            whole.update(f"{file.name}\0{size}\0{block}\n".encode(errors="surrogateescape"))
    except OSError:
        return None
    return whole.hexdigest()


def with_content(record: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return main's record with the content hash of its adopted checkpoint, which is computed once.

    Args:
        record: The record to write; returned unchanged if nothing is adopted.
        before: The record that it replaces.
    """
    adopted = record.get("adopted")
    if adopted is None:
        return record
    known = _content_in(before) or content_of(Checkpoint(Path(adopted["folder"]), adopted["iteration"]))
    return {**record, "adopted": {**adopted, "sha256": known}}


def _content_in(record: Mapping[str, Any]) -> str | None:
    adopted = record.get("adopted")
    known = adopted.get("sha256") if isinstance(adopted, dict) else None
    return known if isinstance(known, str) else None


def refuse_other_content(main: PathFolder, checkpoint: Checkpoint) -> None:
    """Refuse to adopt a checkpoint again if it is not the one that main was adopted from.

    Args:
        main: The main path's folder.
        checkpoint: The checkpoint.

    Raises:
        RefusedError: naming the checkpoint.
    """
    known = _content_in(read_record(main) or {})
    if known is not None and content_of(checkpoint) != known:
        raise RefusedError(
            f"main.adopt: {checkpoint} is not the checkpoint that main was adopted from: its content is another.",
            "restore that one, or start a campaign with another `save`.",
        )


def changed_adoption(old: Plan, new: Plan) -> Change | None:
    """Return the change if the new plan adopts a different run; the run's folder may have moved.

    Args:
        old: The accepted plan.
        new: The plan to be accepted, with the same ``main.iteration``.
    """
    if old.main is None or new.main is None or old.main.adopt == new.main.adopt:
        return None  # the ranks compare its content when they read it again
    then, now = (Checkpoint(plan.main.adopt, plan.main.iteration) for plan in (old, new) if plan.main)
    known = _content_in(read_record(CampaignFolder(old.folder).path(MAIN)) or {}) or content_of(then)
    found = content_of(now)
    if found is None or found == known:
        return None
    return Change(
        key="main.adopt",
        then=old.main.adopt,
        now=f"{now}, whose content is another" if known else f"{now}, and what was adopted is not recorded and gone",
        fix="name the folder's new place",
    )
