"""A process's part in a path that Bridge's loop trains: each method is one moment of the loop."""

import contextlib
import signal
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from megatron_lrps.bridge.bridge_release import GATHER_ITEM
from megatron_lrps.bridge.bridge_scheduler import put_on_path
from megatron_lrps.bridge.config_arguments import refuse_other_flags, run_arguments
from megatron_lrps.bridge.writer_watch import watch_writer
from megatron_lrps.campaign.activity import What
from megatron_lrps.campaign.checkpoint import Checkpoint, being_saved
from megatron_lrps.campaign.start_point import StartPoint
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.vocabulary import vocabulary_by_plan
from megatron_lrps.storage.files import write_atomic
from megatron_lrps.training.arguments import Planned
from megatron_lrps.training.megatron.exit_signals import received_with_requests
from megatron_lrps.training.megatron.run_arguments import refuse_lost_optimizer, set_saved_by
from megatron_lrps.training.megatron.saved_states import vouched_states
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.session import Session

_followed: "FollowedPath | None" = None
"""The path of this process; Bridge makes the checkpoint manager by its name alone."""


def followed() -> "FollowedPath":
    """Return the path that this process follows; raises RefusedError outside of ``follow``."""
    if _followed is None:
        raise RefusedError(
            "checkpoint.custom_manager_class is that of Megatron-LRPS, but no path is followed.",
            "call pretrain inside of `with follow(config, plan=..., path=...) as callbacks:`.",
        )
    return _followed


def say(error: LrpsError) -> None:
    """Print what ends this rank."""
    with contextlib.suppress(OSError):  # the log may be on the disk that has failed
        print(f"lrps: {error}", file=sys.stderr, flush=True)


def set_followed(path: "FollowedPath | None") -> None:
    """Set the path of this process, or None after it; raises RefusedError inside of another ``follow``."""
    global _followed
    if path is not None and _followed is not None:
        raise RefusedError("follow is called inside of another follow.", "train one path after the other.")
    _followed = path


class FollowedPath:
    """The followed path.

    Args:
        config: Bridge's ConfigContainer, as the plan has decided it.
        planned: The plan's path.
        allow: The names of arguments that may differ from the checkpoint's.

    Attributes:
        planned: The plan's path.
        to_train: The same path as the session trains it.
    """

    def __init__(self, config: Any, planned: Planned, allow: Sequence[str]) -> None:
        self.planned, self.to_train = planned, PathToTrain.of_plan(planned)
        self._config, self._allow = config, tuple(allow)
        self._interval = config.checkpoint.save_interval
        self._session: Session | None = None
        self._args = Namespace()
        self._state: Any = None
        self._unfinished: deque[int] = deque()

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.planned.tree.plan

    @property
    def name(self) -> str:
        """The path's name."""
        return self.planned.path.name

    @property
    def position(self) -> int:
        """The sample that this run starts at."""
        return self.to_train.batches.samples(self._start.iteration)

    @property
    def _end(self) -> int:
        return self.to_train.batches.samples(self.to_train.end)

    @property
    def validated(self) -> int:
        """The samples that have been read for validation before this run, as the loaded checkpoint counts them."""
        return 0 if self._state is None else int(self._state.train_state.consumed_valid_samples)

    @property
    def _connected(self) -> Session:
        if self._session is None:
            raise RefusedError(
                "Bridge's loop runs without the checkpoint manager that follow has set.",
                "leave config.checkpoint.custom_manager_class as it is between follow and pretrain.",
            )
        return self._session

    @property
    def _start(self) -> StartPoint:
        start = self._connected.start.start
        assert start is not None
        return start

    def ranks_are_connected(self) -> None:
        """Agree with all ranks where the path starts, and let Bridge load from there.

        Raises:
            RefusedError: on every rank, if the run would be wrong.
            SystemExit: with code 0, if the path is trained already.
        """
        self._args = run_arguments(self._config, self._allow, self.to_train.end)
        plan = self.planned.tree.plan_of(self.planned.path)
        self._args.padded_vocab_size = getattr(self._args, "vocab_size", None) or vocabulary_by_plan(plan).size
        set_saved_by(self._args)
        refuse_lost_optimizer(self._args)
        refuse_other_flags(plan, self._args)
        self._session = Session(self.to_train, torch.distributed.get_rank())
        if self._session.ranks_are_connected(self._args):
            raise SystemExit(0)
        self._choose()

    def load(self, ctx: Any, read: Callable[[Any], tuple[int, int]]) -> tuple[int, int]:
        """Load the checkpoint that was agreed on if it is whole, else an older one.

        Args:
            ctx: Bridge's CheckpointLoadContext.
            read: Lets Bridge load.

        Raises:
            RefusedError: on every rank, if a fork point is damaged, or the checkpoint is of another position.
        """
        self._connected.loads(self._args)
        self._choose()
        self._state = ctx.state
        put_on_path(ctx.opt_param_scheduler, self.to_train.schedule, self._args, end=self._end)
        if self._start.checkpoint is None and not self._config.checkpoint.pretrained_checkpoint:
            return 0, 0
        with vouched_states():
            loaded = read(ctx)
        self._refuse_other_position(ctx.opt_param_scheduler)
        return loaded

    def training_begins(self, state: Any, scheduler: Any) -> None:
        """Take the loop's signals, and its scheduler if nothing was loaded; raises RefusedError at a wrong position."""
        self._connected.activity.tell("training")
        self._state = state
        put_on_path(scheduler, self.to_train.schedule, self._args, end=self._end)
        self._refuse_other_position(scheduler)
        watch_writer(lambda: state.async_calls_queue, torch.distributed.get_rank(), self._writer_died)
        handler = state.signal_handler
        gather = partial(
            received_with_requests, handler, self._connected.requests, self._connected.pace, GATHER_ITEM.get()
        )
        handler.signals_received = partial(self._decide_exit, gather)
        if handler.sig != signal.SIGTERM:  # which launchers send
            signal.signal(signal.SIGTERM, lambda *_: setattr(handler, "_signal_received", True))
        self._connected.overdue.watch(signal.SIGTERM, handler.sig)

    def iteration_ended(self, iteration: int, losses: Mapping[str, Any], norm: float | None, skipped: bool) -> None:
        """Judge the figures of an iteration."""
        self._connected.iteration_logged(iteration, losses, norm, skipped=int(skipped))

    def save(self, ctx: Any, write: Callable[[], None]) -> None:
        """Save the iteration that has been trained, but never twice.

        Args:
            ctx: Bridge's CheckpointSaveContext.
            write: Lets Bridge save.
        """
        iteration = ctx.state.train_state.step
        self._args.iteration = iteration
        self._args.consumed_train_samples = ctx.state.train_state.consumed_train_samples

        def marked() -> None:
            if self._connected.committer is not None:
                mark = being_saved(Checkpoint(self.to_train.own, iteration).folder)
                mark.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(mark, "")
            self._unfinished.append(iteration)
            write()

        self._connected.save(iteration, marked, persistent=True)
        if not self._config.checkpoint.async_save:
            self._commit_all_but(0)

    def save_finished(self) -> None:
        """Make the oldest unfinished save count: Bridge has finished it."""
        self._commit_all_but(len(self._unfinished) - 1)

    def saves_left(self, state: Any) -> None:
        """Make those saves count that Bridge's queue has finished."""
        queue = state.async_calls_queue
        self._commit_all_but(0 if queue is None else queue.get_num_unfinalized_calls())

    def tell(self, what: What, **facts: Any) -> None:
        """Say what the process does from now on."""
        self._connected.activity.tell(what, **facts)

    def left(self, leaving: BaseException) -> int | None:
        """Return the exit code of a run that stopped early, whose last save is on disk; None for any other end."""
        if self._session is None:
            return None
        if self._state is not None:
            self._session.ended_by_itself(self._state.train_state.step, self._config.train.exit_interval)
        return self._session.training_left(leaving)

    def finished(self) -> None:
        """Record that the path is trained, if it is."""
        self._connected.finished()

    def failed(self, error: Any) -> None:
        """Record the error that ends this run."""
        if self._session is not None:
            self._session.failed(error)

    def let_go(self) -> None:
        """Release the path."""
        self._config.checkpoint.save_interval = self._interval
        if self._session is not None:
            self._session.let_go()

    def _writer_died(self, error: LrpsError, code: int) -> int:
        return self._connected.writer_died(error, code, say)

    def _choose(self) -> None:
        """Let Bridge load the agreed checkpoint by its own folder, as a tracker may name another one."""
        checkpoint = self._start.checkpoint
        self._config.checkpoint.load = None if checkpoint is None else str(checkpoint.folder)

    def _refuse_other_position(self, scheduler: Any) -> None:
        start, state = self._start, self._state.train_state
        found = (state.step, state.consumed_train_samples, scheduler.num_steps)
        wanted = (start.iteration, self.position, self.position)
        if found != wanted:
            raise RefusedError(
                f"Bridge has loaded iteration {found[0]} with {found[1]:,} samples read and the schedule at "
                f"{found[2]:,}, and the run starts from {start.name}: iteration {wanted[0]}, {wanted[1]:,} samples.",
                "move that checkpoint away if its train_state.pt is missing; the one before it is used then.",
            )

    def _decide_exit(self, gather: Callable[[], list[bool]]) -> list[bool]:
        """Answer the loop's question for signals, after each iteration and before its saves, on all ranks together.

        The loop saves where its interval says so: for a fork point, a request and the end, the interval is this
        iteration.
        """
        iteration, checkpoint = self._state.train_state.step, self._config.checkpoint
        checkpoint.save_interval = self._interval
        received = gather()
        exits = self._connected.decide_exit(
            iteration,
            decide=lambda: any(received),
            save=lambda: setattr(checkpoint, "save_interval", iteration),
            signalled=lambda: any(received),
            interval=lambda: None,
        )
        if iteration == self.to_train.end:
            checkpoint.save_interval = iteration
        return [exits]

    def _commit_all_but(self, unfinished: int) -> None:
        while len(self._unfinished) > max(0, unfinished):
            iteration = self._unfinished.popleft()
            if self._connected.committer is not None:
                self._connected.committer.commit(iteration)
