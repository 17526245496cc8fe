"""A process's part in a campaign, from its arguments to its exit code; each method is one moment of it.

The session knows nothing of ``megatron.training``: ``training/megatron/hooks.py`` calls it at the right moments, and
hands over what a moment needs of Megatron.
"""

import contextlib
import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from megatron_lrps.errors import EXIT_FAILED, EXIT_STORAGE, LrpsError, StorageError
from megatron_lrps.plan.optional_packages import refuse_missing_packages
from megatron_lrps.training.alert_raising import AlertRaiser
from megatron_lrps.training.current_activity import CurrentActivity
from megatron_lrps.training.failure_word import leave_word
from megatron_lrps.training.megatron.rank_pace import RankPace
from megatron_lrps.training.megatron.run_arguments import prepare
from megatron_lrps.training.overdue_stop import OverdueStop
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.request_listener import RequestListener
from megatron_lrps.training.save import STOP_S, Committer, clear_unfinished
from megatron_lrps.training.start_agreement import StartAgreement
from megatron_lrps.training.stop import Stop
from megatron_lrps.training.storage_failure import failing, failure
from megatron_lrps.training.trackers.path_trackers import PathTrackers

FT_SOCKET = "FT_RANK_MONITOR_IPC_SOCKET"
"""The environment variable by which ``ft_launcher`` tells a rank of its monitor (nvidia-resiliency-ext, data.py)."""
_TRACKERS_S = 10.0
"""The seconds that trackers may take at the end, while checkpoints are hashed and after it."""


class Session:
    """This process's part in the training of one path.

    Args:
        path: The path that it trains.
        rank: Its rank; that of the environment if it is not given.

    Attributes:
        path: The same.
        activity: The present activity of the process, for observers.
        start: Where the path starts; all ranks agree on it.
        requests: Requests to cut a version off the path, to save it, or to save and stop.
        overdue: Watches whether this process stops when it is asked.
        trackers: The services besides TensorBoard that show the path.
        pace: Measures what this rank needs for an iteration, for those who look for stragglers.
        committer: Makes the path's checkpoints count, which rank 0 does; None on other ranks.
    """

    def __init__(self, path: PathToTrain, rank: int | None = None) -> None:
        self.path = path
        self.activity = CurrentActivity()
        self.start = StartAgreement(path, self.activity)
        self._rank = int(os.environ.get("RANK", "0")) if rank is None else rank
        self.requests = RequestListener(path, self._rank)
        self.overdue = OverdueStop(path, self._rank, self.activity)
        self.trackers = PathTrackers(path)
        self.pace = RankPace()
        self.committer: Committer | None = None
        self._alerts: AlertRaiser | None = None
        self._saved: int | None = None
        self._stop: Stop | None = None
        self._ended = "failed"

    def begins(self, args: Namespace) -> None:
        """Prepare Megatron's arguments, which have been parsed and not yet validated.

        Raises:
            RefusedError: for arguments that no path can be trained with.
        """
        prepare(args)
        if self.path.planned is not None:
            refuse_missing_packages(self.path.planned.tree.plan, os.uname().nodename)
            args.load = None  # decided once the ranks are connected
            if self.path.planned.tree.plan.launch.ft_launcher and FT_SOCKET in os.environ:
                args.enable_ft_package = True
            if self.path.batches.rises:
                args.global_batch_size = self.path.batches.last  # Megatron would take a micro-batch of each replica

    def ranks_are_connected(self, args: Namespace) -> bool:
        """Decide on all ranks together where the path starts.

        Args:
            args: Megatron's arguments, validated; what to load is set on them.

        Returns:
            Whether the path is trained already, so that the process has nothing to do.

        Raises:
            RefusedError: on every rank, if the run would be wrong.
            StorageError: on every rank, if the accepted plan cannot be written.
        """
        if self.path.planned is not None:
            self._alerts = AlertRaiser(self.path, args, self.trackers.alert)
        # Checkpoints are read as data: an object that needs code to be rebuilt is an error, not a call.
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
        trained = self.start.agree(args)
        if self.path.planned is not None and not trained:
            self.pace.measure(self.path.planned.tree.plan.alerts)
            if self._rank == 0 and self.path.folder is not None:
                self.pace.report(self.path.folder, self.start.token)
        if not trained and self._rank == 0:
            self.committer = Committer(self.path, args, self.start.identity, saved=self.requests.answer)
        return trained

    def loads(self, args: Namespace) -> None:
        """Accept the checkpoint read while the model was built if it is whole, else an older one, or none.

        Args:
            args: Megatron's arguments; what to load is set on them.

        Raises:
            RefusedError: on every rank, if a fork point is damaged.
        """
        self.activity.tell("loading")
        self.start.settle(args)
        if self._alerts is not None and self.start.start is not None:
            self._alerts.loads(self.start.start)

    def iteration_logged(self, iteration: int, losses: Mapping[str, Any], norm: float | None, *, skipped: int) -> None:
        """Judge an iteration's figures once Megatron has logged them.

        Args:
            iteration: The iteration.
            losses: Its losses by name, tensors of one value.
            norm: The norm of its gradient; None if there is none.
            skipped: 1 if the optimizer left the weights as they were.
        """
        if self._alerts is not None:
            self._alerts.see(iteration, losses, norm, skipped=skipped)

    def save(self, iteration: int, write: Callable[[], Any], *, persistent: bool) -> Any:
        """Save, but never one iteration twice: a second save would write into the first one's files.

        Args:
            iteration: The iteration to save.
            write: Lets Megatron save it.
            persistent: Whether the checkpoint goes to the path's own folder and is to stay there.
        """
        with self.activity.saving(iteration):
            if self._saved == iteration:
                return None
            if persistent and self.start.leaves_alone(iteration):
                clear_unfinished(self.path.own, iteration, rank=self._rank)
            if persistent and self.committer is not None:
                self.committer.begin(iteration)
            result = write()
            if persistent:
                self._saved = iteration
                if self._alerts is not None:
                    self._alerts.saved(iteration)
            return result

    def decide_exit(
        self,
        iteration: int,
        *,
        decide: Callable[[], bool],
        save: Callable[[], Any],
        signalled: Callable[[], bool],
        interval: Callable[[], int | None],
    ) -> bool:
        """Return whether training ends after this iteration; fork points are saved whatever the save interval.

        Args:
            iteration: The iteration that has been trained.
            decide: Megatron's own decision, with its own saves.
            save: Saves this iteration.
            signalled: Whether a rank got the exit signal; asked of all ranks together.
            interval: Megatron's ``--exit-interval``.

        Raises:
            RefusedError: if another process has taken the path meanwhile.
        """
        self.activity.iterated(iteration)
        self.start.refuse_lost_path()
        exits = decide()
        requested = "stop" in self.requests.wanted
        asked = self.requests.take(iteration)
        path = self.path
        part_ends = iteration == path.until < path.end
        if asked or part_ends or iteration in path.needed_saves:
            save()
        if (exits or part_ends) and iteration < path.end:
            signals = not requested and signalled()
            self._stop = Stop.at(
                iteration, until=path.until, requested=requested, signalled=signals, interval=interval()
            )
        return exits or part_ends

    def ended_by_itself(self, iteration: int, interval: int | None) -> None:
        """Note that the loop has stopped early, after a save, by a limit of its own and not by ``decide_exit``.

        Args:
            iteration: The last iteration that was trained.
            interval: The loop's own exit interval.
        """
        if self._stop is None and self._saved == iteration < self.path.end:
            self._stop = Stop.at(iteration, until=self.path.until, requested=False, signalled=False, interval=interval)

    def training_left(self, leaving: BaseException) -> int | None:
        """Return the exit code of a run that stopped early, whose last save is on disk; None if it failed.

        Megatron leaves with 0 whatever the reason. Rank 0 records the stop, and an error may be an alert.

        Args:
            leaving: The exception of Megatron's training loop.
        """
        if self._alerts is not None:
            self._alerts.see_end(leaving)
        if self._stop is None or getattr(leaving, "code", True):
            return None
        code, self._ended = self._stop.exit_code, "stopped"
        if self._rank == 0:
            self.path.log("stopped", reason=self._stop.reason, iteration=self._stop.iteration, exit_code=code)
        return code

    def failed(self, error: LrpsError, *, code: int | None = None) -> None:
        """Record the error that ends this run; rank 0 does.

        Args:
            error: The error.
            code: The exit code of this rank, if no other one knows of the error: then this one records it.
        """
        if self._rank == 0 or code is not None:
            with contextlib.suppress(StorageError):  # a full disk takes no record either
                self.path.log(error.event, message=str(error), exit_code=code or error.exit_code)

    def writer_died(self, error: LrpsError, code: int, say: Callable[[LrpsError], None]) -> int:
        """Say and record that this rank's writer has died, or which storage has failed it; returns the exit code.

        Args:
            error: What became of the writer.
            code: The exit code for it.
            say: Prints an error.
        """
        if code == EXIT_FAILED and (number := failing(self.path.own)) is not None:
            error = failure(self.path.own, number)
            code = error.exit_code
        say(error)
        self.failed(error, code=code)
        if code in (EXIT_FAILED, EXIT_STORAGE):
            leave_word(code, error)
        return code

    def finished(self) -> None:
        """Record that the path is trained, if it is. Called when the script has returned."""
        self._ended = "finished"
        if self.committer is not None:
            self.activity.tell("finishing")
            self.committer.finish(lambda: self.activity.tell("finishing"))

    def let_go(self) -> None:
        """Release the path. Called before the process ends, however it does."""
        if self._alerts is not None:
            self._alerts.settle(STOP_S)
        self.trackers.end(self._ended)
        if self.committer is not None:
            self.committer.settle(STOP_S)
        self.trackers.settle(_TRACKERS_S)
        self.start.release()
