"""The start of a run: rank 0 decides where, all ranks agree, and check the checkpoint's files for damage.

The session calls it once the ranks are connected.
"""

import json
import math
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.activity import PULSE_S
from megatron_lrps.campaign.epochs import refuse_repeats
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.pickled_code import refuse_code, refuse_code_in_states
from megatron_lrps.campaign.record import read_record
from megatron_lrps.campaign.record_values import is_data
from megatron_lrps.campaign.same_run import (
    NAMED_FILES,
    Identity,
    named_files,
    refuse_other_data,
    refuse_other_files,
    refuse_other_loop,
    refuse_other_position,
    refuse_other_run,
)
from megatron_lrps.campaign.start_point import StartPoint, find_start, refuse_damaged_fork
from megatron_lrps.campaign.validation_size import refuse_small_sets
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan.branch_length import own_arguments_of
from megatron_lrps.schedule import Batches
from megatron_lrps.storage.ownership import Ownership, acquire
from megatron_lrps.training.adopted_checkpoint import refuse_unfit
from megatron_lrps.training.checkpoint_reading import Reading
from megatron_lrps.training.current_activity import CurrentActivity
from megatron_lrps.training.identity import identity_of
from megatron_lrps.training.megatron.run_arguments import refuse_few_microbatches
from megatron_lrps.training.megatron.saved_states import refuse_without_moments, saved_arguments
from megatron_lrps.training.megatron.stock_order import ORDER_SAMPLES, order_samples
from megatron_lrps.training.path_record import write_path_record
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.run_summary import run_summary
from megatron_lrps.training.saves_on_disk import refuse_full_disk

IDENTITY = "lrps_identity"
"""The Megatron argument that carries the identity into every checkpoint, as JSON."""


class StartAgreement:
    """The agreement on a path's start: rank 0 decides, and all ranks agree.

    Args:
        path: The path that this process trains.
        activity: Told what the process does once it holds the path.

    Attributes:
        start: Where the path starts; None before the ranks have agreed.
        identity: The identity of its data and tokenizer; None before that, and without a plan.
    """

    def __init__(self, path: PathToTrain, activity: CurrentActivity) -> None:
        self.start: StartPoint | None = None
        self.identity: Identity | None = None
        self._path, self._activity = path, activity
        self._ownership: Ownership | None = None
        self._damaged: dict[int, str] = {}
        self._reading: Reading | None = None

    def agree(self, args: Namespace) -> bool:
        """Decide on all ranks together where the path starts, put it on Megatron's arguments, and announce it.

        The checkpoint's files are still being read against their hashes then: ``settle`` waits for that.

        Args:
            args: Megatron's arguments, validated.

        Returns:
            Whether the path is trained already, as far as this process is to train it.

        Raises:
            RefusedError: on every rank, if the run would be wrong.
            StorageError: on every rank, if the accepted plan cannot be written.
        """
        refuse_few_microbatches(args)
        rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
        while True:
            start: StartPoint = _from_rank_0(rank, lambda: self._find(args.lrps_allow or ()))
            self._reading = Reading(start.checkpoint, rank, ranks) if start.checkpoint else None
            trained = not start.forked and start.iteration >= self._path.until
            try:
                self.identity, drawn = _from_rank_0(rank, partial(self._compare, start, args))
            except RefusedError:
                # A flipped bit must not look like another run, or like foreign code.
                if not self._is_damaged(start):
                    raise
                continue
            if trained and self._is_damaged(start):
                continue
            break
        setattr(args, ORDER_SAMPLES, drawn)
        setattr(args, NAMED_FILES, _from_rank_0(rank, lambda: named_files(vars(args))))
        self.start = start
        args.load = str(start.checkpoint.save) if start.checkpoint else None
        args.ckpt_step = start.iteration or None
        if self.identity is not None:
            setattr(args, IDENTITY, json.dumps(self.identity.to_json()))
        if rank == 0:
            self._announce(start, args, trained)
        return trained

    def settle(self, args: Namespace) -> None:
        """Wait until the checkpoint has been read; if it is damaged, ``agree`` again. On all ranks, before the load.

        Raises:
            RefusedError: on every rank, if it is a fork point, or as ``agree``.
        """
        while self.start is not None and self._is_damaged(self.start):
            self.agree(args)

    def leaves_alone(self, iteration: int) -> bool:
        """Whether a checkpoint of this iteration lies in the path's folder that the start has not used."""
        return self.start is not None and iteration in self.start.skipped

    def refuse_lost_path(self) -> None:
        """Refuse to go on if another process has taken the path meanwhile; raises RefusedError."""
        if self._ownership is not None and self._ownership.lost:
            raise RefusedError(
                self._ownership.lost, "find the job that trains the path now. This one has saved nothing more."
            )

    def release(self) -> None:
        """Release the path."""
        if self._ownership is not None:
            self._ownership.release()

    def _is_damaged(self, start: StartPoint) -> bool:
        """Whether the checkpoint is not as it was saved (cached); raises RefusedError if it is a fork point."""
        reading, self._reading = self._reading, None
        damages = reading.result() if reading is not None else []
        if damages and start.forked and start.checkpoint is not None:
            refuse_damaged_fork(start.checkpoint, damages[0], adopted=self._path.adopted)
        if damages:
            self._damaged[start.iteration] = str(damages[0])
        return bool(damages)

    @property
    def token(self) -> str:
        """The token of this process's hold of the path; empty if it does not hold it."""
        return "" if self._ownership is None else self._ownership.token

    def _find(self, allow: Sequence[str]) -> StartPoint:
        """Take the path, accept the plan, and find the checkpoint to start from. On rank 0.

        Args:
            allow: The keys that ``--lrps-allow`` names.

        Raises:
            RefusedError: another job holds the path, the plan changes the past, or there is no fork point.
            StorageError: the accepted plan cannot be written.
        """
        path = self._path
        if self._ownership is None:
            self._ownership = acquire(path.own.parent if path.planned else path.own, say=_say)
            self._ownership.start()
            if path.folder is not None:
                least = path.planned.tree.plan.alerts.stall_least if path.planned else math.inf
                # Often enough for whoever judges a stall by it.
                self._activity.begin(path.folder, self._ownership.token, min(PULSE_S, least / 4))
            if path.planned is not None:
                accept(path.planned.campaign, allow)
        return find_start(
            path.own, parent=path.parent, fork=path.fork, end=path.end, damaged=self._damaged, adopted=path.adopted
        )

    def _compare(self, start: StartPoint, args: Namespace) -> tuple[Identity | None, int | None]:
        """Compare this run with the checkpoint it starts from. On rank 0, before the model is built.

        Returns:
            The identity of the path's data and tokenizer (None without a plan), and the number of samples that the
            data of the checkpoint were drawn for (None from scratch).

        Raises:
            RefusedError: if the run would be wrong.
        """
        path = self._path
        drawn, recorded = None, None
        if path.folder is not None:
            read_record(path.folder)  # a newer version's is refused here, on every rank, and not written over
        if start.checkpoint is not None:
            read_record(PathFolder(start.checkpoint.save.parent))
            by_plan: dict[str, Any] = {}
            if path.planned is not None:
                drawn_to = path.planned.tree.drawn_to(path.planned.path, start.iteration)
                by_plan = {"planned": path.batches, "drawn": drawn_to}
            saved = fitting_arguments(start.name, start.iteration, args, own=self._own_arguments(start), **by_plan)
            drawn = order_samples(saved)
            recorded = _recorded(saved, start.name)
            if path.adopted and start.forked:
                recorded = None  # the run has read samples of no window
        identity = None
        if path.planned is not None:
            tree, planned_path = path.planned.tree, path.planned.path
            identity = identity_of(path.planned, start.iteration, recorded or {})
            if recorded is not None:
                refuse_other_data(recorded, identity, start.iteration, start.name)
            if path.adopted and start.forked:
                refuse_unfit(path, saved, identity, start)
            refuse_repeats(tree, planned_path, identity.to_json(), start.iteration)
            refuse_small_sets(tree, planned_path, args.data_parallel_size)
        refuse_full_disk(path, start, args)
        return identity, drawn

    def _own_arguments(self, start: StartPoint) -> tuple[str, ...]:
        """Return the destinations in which a branch of another sequence length differs from its fork point."""
        planned = self._path.planned
        if planned is None or not start.forked or planned.path.kind != "branch":
            return ()
        return own_arguments_of(planned.tree.plan, planned.path.branch_of)

    def _announce(self, start: StartPoint, args: Namespace, trained: bool) -> None:
        path = self._path
        name = path.own.parent.name if path.planned else "the branch"
        for iteration, why in start.skipped.items():
            _say(f"checkpoint {iteration} in {path.own} is left alone and not used: {why}.")
            path.log("skipped", iteration=iteration, reason=why)
        if trained:
            _say(f"{name} is trained to {'its end, ' * (path.until == path.end)}iteration {path.until}; nothing to do.")
            return
        _say(run_summary(path, start, self.identity, args, saved_arguments(start.name) if start.checkpoint else {}))
        how = {"adopted": True} if path.adopted and start.forked else {}
        path.log("started", iteration=start.iteration, forked=start.forked, checkpoint=start.name, **how)
        write_path_record(path, self.identity, args, "training")


def _from_rank_0[T](rank: int, decide: Callable[[], T]) -> T:
    """Return rank 0's decision on every rank, or raise its refusal."""
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


def fitting_arguments(
    name: str,
    iteration: int,
    args: Namespace,
    own: Sequence[str] = (),
    *,
    planned: Batches | None = None,
    drawn: int = 0,
) -> dict[str, Any]:
    """Return the arguments that a checkpoint was saved with, if they fit a run's.

    Args:
        name: The checkpoint's folder.
        iteration: The checkpoint's iteration.
        args: The run's arguments, validated.
        own: Destinations in which the run differs by its plan.
        planned: The plan's batches, which are compared iteration by iteration; None without a plan.
        drawn: The iteration up to which the data have been drawn, if it is later.

    Raises:
        RefusedError: it holds code, cannot be read, or is of another run or position.
    """
    refuse_code(Path(name))
    refuse_code_in_states(Path(name))
    saved = saved_arguments(name)
    refuse_other_loop(saved, vars(args), name)
    refuse_other_position(saved, iteration, name, planned=planned, drawn=drawn)
    own = (*own, "global_batch_size") if planned is not None else own  # the last one, which may lie ahead
    refuse_other_run(saved, vars(args), name, allow=(*(args.lrps_allow or ()), *own))
    refuse_other_files(saved, vars(args), name)
    if args.fp16:
        refuse_without_moments(name)
    return saved


def _recorded(saved: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the identity in a checkpoint; None if it has none, like stock Megatron's."""
    text = saved.get(IDENTITY)
    try:
        recorded: dict[str, Any] | None = json.loads(text) if text else None
    except (TypeError, ValueError, RecursionError):
        recorded = {}
    if recorded is not None and not is_data(recorded):
        raise RefusedError(
            f"{name} does not say what data it was trained with: its {IDENTITY} is not as lrps writes it.",
            "move that folder away. The checkpoint before it is used then.",
        )
    return recorded


def _say(text: str) -> None:
    print(f"lrps: {text}", flush=True)
