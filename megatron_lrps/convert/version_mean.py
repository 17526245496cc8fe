"""A version that is a weighted mean: its checkpoints are merged into one of its own, with its record and history.

In: the plan's path, whose ``mean`` names the checkpoints and their weights. Out: the checkpoint at the path's end, in
the path's own folder, as if Megatron had saved it there, but without an optimizer.
"""

from collections.abc import Callable
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import TRACKER, Checkpoint
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.libraries import library_versions
from megatron_lrps.campaign.lineage import described
from megatron_lrps.campaign.record import log_event, read_record, write_record
from megatron_lrps.campaign.record_values import LATER
from megatron_lrps.campaign.releases import with_notes
from megatron_lrps.campaign.start_point import refuse_unfit_parts
from megatron_lrps.convert.weighted_mean import plan_mean, write_mean
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan import PlannedPath, plan_hash
from megatron_lrps.storage.files import write_atomic
from megatron_lrps.storage.ownership import acquire


def make_version(campaign: Campaign, path: PlannedPath, say: Callable[[str], None]) -> Checkpoint:
    """Merge the checkpoints of a path that is a mean; nothing is done if that was done before.

    Raises:
        RefusedError: A checkpoint is missing or damaged, they are not of one model, or another process holds the path.
        StorageError: There is no room, or the disk fails; nothing that looks whole is left.
    """
    folder = campaign.folder.path(path.name)
    made = Checkpoint(folder.checkpoints, path.end)
    with acquire(folder.root, say=say):
        try:
            _make(campaign, path, made, say)
        except LrpsError as error:
            log_event(folder, error.event, message=str(error), exit_code=error.exit_code)
            raise
    return made


def _make(campaign: Campaign, path: PlannedPath, made: Checkpoint, say: Callable[[str], None]) -> None:
    folder, parts = campaign.folder.path(path.name), campaign.folder.parts_of(path)
    if made.is_whole:
        say(f"{made} is there already")
    else:
        refuse_unfit_parts(campaign, path)
        if made.folder.exists():
            raise RefusedError(
                f"{made} is damaged: {', '.join(map(str, made.damages()[:1])) or 'it is not whole'}.",
                "move it away, and run the same command again.",
            )
        log_event(folder, "started", iteration=path.end, merging=True)
        say(f"{path.name}: merging {path.mean_words.removeprefix('a mean of ')}")
        write_mean(plan_mean(parts, [part.weight for part in path.mean]), made)
        write_atomic(folder.checkpoints / TRACKER, str(path.end))
        log_event(folder, "saved", iteration=path.end)
    _write_record(campaign, path, made, folder)
    log_event(folder, "done", iteration=path.end)


def _write_record(campaign: Campaign, path: PlannedPath, made: Checkpoint, folder: PathFolder) -> None:
    """Write path.json; its data and layout are those of the newest checkpoint's path."""
    before = read_record(folder) or {}
    source = read_record(campaign.folder.path(path.mean[-1].path)) or {}
    record: dict[str, Any] = {
        **{key: before[key] for key in LATER if key in before},
        **described(campaign.tree, path),
        "status": "trained",
        "plan_hash": plan_hash(campaign.plan),
        **{key: source[key] for key in ("data", "layout") if key in source},
        "consumed_samples": campaign.tree.batches.samples(path.end),
        "checkpoints": [{"iteration": made.iteration, "sha256": made.digest}],
        "libraries": library_versions(),
    }
    write_record(folder, with_notes(record, folder))
