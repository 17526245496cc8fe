"""The record of a path (``path.json``), as the process that trains the path writes it after each save."""

from argparse import Namespace
from functools import cache
from pathlib import Path

from megatron_lrps.campaign.adopted_run import with_content
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.libraries import library_versions
from megatron_lrps.campaign.lineage import described
from megatron_lrps.campaign.manifest import MANIFEST, read_manifest
from megatron_lrps.campaign.record import read_record, write_record
from megatron_lrps.campaign.record_values import LATER
from megatron_lrps.campaign.releases import with_notes
from megatron_lrps.campaign.same_run import Identity
from megatron_lrps.plan import plan_hash
from megatron_lrps.training.path_to_train import PathToTrain


def write_path_record(path: PathToTrain, identity: Identity | None, args: Namespace, status: str) -> None:
    """Write the record. Only rank 0 calls this; a path without a plan has no record.

    Args:
        path: The path that this process trains.
        identity: The identity of its data and tokenizer.
        args: Megatron's arguments, validated.
        status: ``training`` or ``trained``.
    """
    if path.folder is None or path.planned is None or identity is None:
        return
    checkpoints = Checkpoints.in_folder(path.own).complete
    before = read_record(path.folder) or {}
    plan = path.planned.tree.plan
    written = {
        **{key: before[key] for key in LATER if key in before},
        **described(path.planned.tree, path.planned.path),
        "status": status,
        "plan_hash": plan_hash(plan),
        "data": identity.to_json(),
        "layout": {
            "tensor": args.tensor_model_parallel_size,
            "pipeline": args.pipeline_model_parallel_size,
            "data": args.data_parallel_size,
            "distributed_optimizer": args.use_distributed_optimizer,
        },
        "consumed_samples": path.batches.samples(max([path.fork, *checkpoints])),
        "checkpoints": [
            {"iteration": each, "sha256": _digest(Checkpoint(path.own, each).folder)} for each in checkpoints
        ],
        "libraries": library_versions(),
    }
    write_record(path.folder, with_notes(with_content(written, before), path.folder))


def _digest(folder: Path) -> str | None:
    try:
        return _digest_of(folder, (folder / MANIFEST).stat().st_mtime_ns)
    except OSError:
        return None


@cache
def _digest_of(folder: Path, mtime_ns: int) -> str | None:
    # A manifest of a thousand files takes a while to read, and every save writes the record anew.
    manifest = read_manifest(folder)
    return manifest.digest if manifest else None
