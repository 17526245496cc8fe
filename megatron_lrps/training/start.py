"""Where a run starts: rank 0 decides, all ranks agree, and read the checkpoint's files for damage.

Knows nothing of ``megatron.training``; ``hooks.py`` calls it once the ranks are connected.
"""

import contextlib
import json
import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.epochs import refuse_repeats
from megatron_lrps.campaign.folders import PathFolder, checkpoint
from megatron_lrps.campaign.named_files import NAMED_FILES, named_files, refuse_other_files
from megatron_lrps.campaign.pickled_code import refuse_code, refuse_code_in_states
from megatron_lrps.campaign.record import read_record
from megatron_lrps.campaign.record_values import is_data
from megatron_lrps.campaign.same_run import Identity, refuse_other_data, refuse_other_position, refuse_other_run
from megatron_lrps.campaign.start_point import Start, find_start, refuse_damaged_fork
from megatron_lrps.campaign.validation_size import refuse_small_sets
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.storage.ownership import acquire
from megatron_lrps.training import current_activity
from megatron_lrps.training.adopted_checkpoint import refuse_unfit
from megatron_lrps.training.arguments import refuse_few_microbatches
from megatron_lrps.training.checkpoint_reading import Reading
from megatron_lrps.training.megatron.stock_order import ORDER_SAMPLES, order_samples
from megatron_lrps.training.run_summary import overview, refuse_full_disk
from megatron_lrps.training.session import Run, identity_of, record

IDENTITY = "lrps_identity"
"""Megatron argument that carries the identity into every checkpoint, as JSON."""
_VOUCHED = "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE"


def agree(run: Run, args: Namespace) -> bool:
    """Decide on all ranks together where the path starts, put it on Megatron's arguments, and announce it.

    The checkpoint's files are still being read against their hashes then: ``settle`` waits for that.

    Args:
        run: This process's.
        args: Megatron's, validated.

    Returns:
        Whether the path is trained already, as far as this process is to train it.

    Raises:
        RefusedError: on every rank, where the run would be wrong.
        StorageError: on every rank, where the accepted plan cannot be written.
    """
    refuse_few_microbatches(args)
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    while True:
        start: Start = _from_rank_0(rank, lambda: find(run, run.damaged, args.lrps_allow or ()))
        run.reading = Reading(Path(start.name), rank, ranks) if start.folder else None
        trained = not start.forked and start.iteration >= run.until
        try:
            run.identity, drawn = _from_rank_0(rank, partial(compare, run, start, args))
        except RefusedError:
            # A flipped bit must not look like another run, or like foreign code.
            if not _damaged(run, start):
                raise
            continue
        if trained and _damaged(run, start):
            continue
        break
    setattr(args, ORDER_SAMPLES, drawn)
    setattr(args, NAMED_FILES, _from_rank_0(rank, lambda: named_files(vars(args))))
    run.start = start
    args.load = str(start.folder) if start.folder else None
    args.ckpt_step = start.iteration or None
    if run.identity is not None:
        setattr(args, IDENTITY, json.dumps(run.identity.to_json()))
    if rank == 0:
        _announce(run, start, args, trained)
    return trained


def settle(run: Run, args: Namespace) -> None:
    """Wait until the checkpoint has been read; where it is damaged, ``agree`` again. On all ranks, before the load.

    Raises:
        RefusedError: on every rank, where it is a fork point, or as ``agree``.
    """
    while run.start is not None and _damaged(run, run.start):
        agree(run, args)


@contextlib.contextmanager
def vouched_states() -> Iterator[None]:
    """Let Transformer Engine read the FP8 scales of a checkpoint that ``agree`` has found to be data.

    ``delayed`` keeps them in a pickle, which version 2.16.1 and later read only where this variable vouches for it.
    """
    before = os.environ.get(_VOUCHED)
    os.environ[_VOUCHED] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VOUCHED]
        else:
            os.environ[_VOUCHED] = before


def _damaged(run: Run, start: Start) -> bool:
    """Whether the checkpoint is not as it was saved, remembered; raises RefusedError where it is a fork point."""
    reading, run.reading = run.reading, None
    damages = reading.result() if reading is not None else []
    if damages and start.forked and start.folder is not None:
        refuse_damaged_fork(checkpoint(start.folder, start.iteration), damages[0], adopted=run.adopted)
    if damages:
        run.damaged[start.iteration] = str(damages[0])
    return bool(damages)


def _from_rank_0[T](rank: int, decide: Callable[[], T]) -> T:
    """What rank 0 decides, on every rank; so is its refusal."""
    decided: list[Any] = [None]
    if rank == 0:
        try:
            decided = [(decide(), None)]
        except LrpsError as error:
            decided = [(None, error)]
    torch.distributed.broadcast_object_list(decided, src=0)
    value, refusal = decided[0]
    if refusal is not None:
        raise refusal
    return cast("T", value)


def find(run: Run, damaged: dict[int, str], allow: Sequence[str] = ()) -> Start:
    """Take the path, accept the plan, and find the checkpoint to start from. On rank 0.

    Args:
        run: This process's.
        damaged: Own checkpoint -> what is wrong with its content.
        allow: What ``--lrps-allow`` names.

    Raises:
        RefusedError: another job holds the path, the plan changes the past, or there is no fork point.
        StorageError: the accepted plan cannot be written.
    """
    if run.ownership is None:
        run.ownership = acquire(run.own.parent if run.planned else run.own, say=_say)
        run.ownership.start()
        if run.folder is not None:
            current_activity.begin(run.folder, run.ownership.token)
        if run.planned is not None:
            accept(run.planned.tree, allow)
    return find_start(run.own, parent=run.parent, fork=run.fork, end=run.end, damaged=damaged, adopted=run.adopted)


def compare(run: Run, start: Start, args: Namespace) -> tuple[Identity | None, int | None]:
    """Compare this run with the checkpoint it starts from. On rank 0, before the model is built.

    Returns:
        What the path's data and tokenizer are (None without a plan), and for how many samples the data of the
        checkpoint were drawn (None from scratch).

    Raises:
        RefusedError: where the run would be wrong.
    """
    drawn, recorded = None, None
    if run.folder is not None:
        read_record(run.folder)  # a newer version's is refused here, on every rank, and not written over
    if start.folder is not None:
        read_record(PathFolder(start.folder.parent))
        saved = fitting_arguments(start.name, start.iteration, args)
        drawn = order_samples(saved)
        recorded = _recorded(saved, start.name)
        if run.adopted and start.forked:
            recorded = None  # what it has read stands in no window
    identity = None
    if run.planned is not None:
        identity = identity_of(run.planned, start.iteration, recorded or {})
        if recorded is not None:
            refuse_other_data(recorded, identity, start.iteration, start.name)
        if run.adopted and start.forked:
            refuse_unfit(run, saved, identity, start)
        refuse_repeats(run.planned.tree, run.planned.path, identity.windows, start.iteration)
        refuse_small_sets(run.planned.tree, run.planned.path, args.data_parallel_size)
    refuse_full_disk(run, start, args)
    return identity, drawn


def fitting_arguments(name: str, iteration: int, args: Namespace) -> dict[str, Any]:
    """The arguments that a checkpoint was saved with, once they fit a run's.

    Args:
        name: Its folder.
        iteration: Its own.
        args: The run's, validated.

    Raises:
        RefusedError: it holds code, cannot be read, or is of another run or position.
    """
    refuse_code(Path(name))
    refuse_code_in_states(Path(name))
    saved = _saved_args(name)
    refuse_other_position(saved, iteration, name)
    refuse_other_run(saved, vars(args), name, allow=args.lrps_allow or ())
    refuse_other_files(saved, vars(args), name)
    if args.fp16:
        _refuse_without_moments(name)
    return saved


def _recorded(saved: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The identity that a checkpoint carries; None where it has none, as stock Megatron's."""
    text = saved.get(IDENTITY)
    try:
        recorded: dict[str, Any] | None = json.loads(text) if text else None
    except (TypeError, ValueError, RecursionError):
        recorded = {}
    if recorded is not None and not is_data(recorded):
        raise RefusedError(
            f"{name} does not say what data it was trained with: its {IDENTITY} is not as lrps writes it.",
            "move that folder away; the one before it is used then.",
        )
    return recorded


def _saved_args(name: str) -> dict[str, Any]:
    """The arguments a checkpoint was saved with, read weights-only: nothing in it is executed."""
    from megatron.core.dist_checkpointing.serialization import load_common_state_dict

    try:
        saved: dict[str, Any] = vars(load_common_state_dict(name)["args"])
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RefusedError(
            f"The checkpoint {name} cannot be read: {reason}.",
            "move that folder away; the one before it is used then.",
        ) from None
    return saved


def _refuse_without_moments(name: str) -> None:
    """Refuse a checkpoint that was saved before the first step that was not skipped: Megatron cannot load it."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    keys = FileSystemReader(name).read_metadata().state_dict_metadata
    if not any("exp_avg" in key for key in keys):
        raise RefusedError(
            f"{name} holds no state of the optimizer: it was saved while fp16's loss scale was still falling, and "
            "every step up to it was skipped.",
            "fork or resume at a later checkpoint, or train anew with a lower --initial-loss-scale or with --bf16.",
        )


def _announce(run: Run, start: Start, args: Namespace, trained: bool) -> None:
    name = run.own.parent.name if run.planned else "the branch"
    for iteration, why in start.skipped.items():
        _say(f"checkpoint {iteration} in {run.own} is left alone and not used: {why}.")
        run.event("skipped", iteration=iteration, reason=why)
    if trained:
        _say(f"{name} is trained to {'its end, ' * (run.until == run.end)}iteration {run.until}; nothing to do.")
        return
    _say(overview(run, start, args, _saved_args(start.name) if start.folder else {}))
    how = {"adopted": True} if run.adopted and start.forked else {}
    run.event("started", iteration=start.iteration, forked=start.forked, checkpoint=start.name, **how)
    record(run, args, "training")


def _say(text: str) -> None:
    print(f"lrps: {text}", flush=True)
