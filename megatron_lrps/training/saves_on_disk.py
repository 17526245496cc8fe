"""Whether the saves that a run will still make fit on the disk."""

from argparse import Namespace

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.past_arguments import ALLOW_DISK
from megatron_lrps.campaign.start_point import StartPoint
from megatron_lrps.plan.cost import model_size
from megatron_lrps.plan.vocabulary import Vocabulary
from megatron_lrps.storage.disk_space import free_bytes, refuse_no_room, saves_between
from megatron_lrps.training.path_to_train import PathToTrain


def saves_left(path: PathToTrain, start: int, interval: int | None) -> int:
    """Return how many checkpoints the run will still write: by interval, for other paths, and at its end.

    Megatron saves before each step of the batch too.
    """
    steps = {each.iteration for each in path.batches.stretches[1:]}
    return saves_between(start, path.end, interval, path.needed_saves | steps)


def size_on_disk(checkpoint: Checkpoint) -> int:
    """Return the bytes of a checkpoint's files; raises OSError."""
    return sum(file.stat().st_size for file in checkpoint.folder.iterdir())


def bytes_needed(path: PathToTrain, start: StartPoint, args: Namespace) -> int | None:
    """Return the size of the run's saves together; None if it is not known.

    One save counts as large as the checkpoint that the run starts from, or as its model's size says.
    """
    size = None
    if start.checkpoint is not None:
        size = size_on_disk(start.checkpoint)
    elif path.planned is not None:
        model = model_size(path.planned.tree.plan, Vocabulary(args.padded_vocab_size))
        size = model.checkpoint_bytes if model else None
    return None if size is None else size * saves_left(path, start.iteration, args.save_interval)


def refuse_full_disk(path: PathToTrain, start: StartPoint, args: Namespace) -> None:
    """Refuse a run whose saves will not fit; raises RefusedError with both sizes."""
    if ALLOW_DISK not in (args.lrps_allow or ()):
        refuse_no_room(
            path.own,
            free=free_bytes(path.own),
            saves=saves_left(path, start.iteration, args.save_interval),
            needed=bytes_needed(path, start, args),
            fix=f"make room (lrps gc), raise save-interval, or give --lrps-allow {ALLOW_DISK} where something makes "
            "room meanwhile.",
        )
