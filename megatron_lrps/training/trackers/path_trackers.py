"""The trackers of the path that this process trains: they get every figure that Megatron gives TensorBoard."""

import functools
import time
from argparse import Namespace
from typing import Any

from megatron_lrps.plan.keys.trackers import Trackers
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.trackers import wandb_run
from megatron_lrps.training.trackers.comet_run import CometRun
from megatron_lrps.training.trackers.mlflow_run import MlflowRun
from megatron_lrps.training.trackers.outside_alerts import OutsideAlerts
from megatron_lrps.training.trackers.sender import Sender, Tracker, figure
from megatron_lrps.training.trackers.tracked_run import settings_without_secrets, tracked_run


class PathTrackers:
    """The trackers of one path; there are some on the last rank alone.

    Args:
        path: The path that this process trains.
    """

    def __init__(self, path: PathToTrain) -> None:
        self._path = path
        self._senders: list[Sender] = []
        self._outside: OutsideAlerts | None = None

    def follow(self, writer: Any, args: Namespace) -> None:
        """Begin to send what is given to TensorBoard's writer, and the alerts that other processes raise for the path.

        Args:
            writer: The ``SummaryWriter`` of this rank; None on all but the last one.
            args: Megatron's arguments, validated.

        Raises:
            StorageError: if the run's id cannot be written.
        """
        if writer is None or self._path.planned is None:
            return
        chosen = self._path.planned.tree.plan.trackers
        if chosen.mlflow is not None or chosen.comet is not None:
            self._send_to(chosen, writer, args)
        if (self._senders or wandb_run.is_writer(args)) and self._path.folder is not None:
            self._outside = OutsideAlerts(self._path.folder, self.alert)
            self._outside.watch()

    def _send_to(self, chosen: Trackers, writer: Any, args: Namespace) -> None:
        run, parameters = tracked_run(self._path), settings_without_secrets(args)
        trackers: list[Tracker] = []
        if chosen.mlflow is not None:
            trackers.append(MlflowRun(chosen.mlflow, run, parameters))
        if chosen.comet is not None:
            trackers.append(CometRun(chosen.comet, run, parameters))
        self._senders = [Sender(tracker, _say) for tracker in trackers]
        add_scalar = writer.add_scalar

        @functools.wraps(add_scalar)
        def followed(tag: str, scalar_value: Any, global_step: Any = None, *given: Any, **named: Any) -> Any:
            result = add_scalar(tag, scalar_value, global_step, *given, **named)
            if (seen := figure(tag, scalar_value, global_step)) is not None:
                for sender in self._senders:
                    sender.add(seen)
            return result

        writer.add_scalar = followed

    def alert(self, kind: str, iteration: int, message: str) -> None:
        """Raise an alert of the path as an alert of every tracker."""
        assert self._path.planned is not None
        plan, name = self._path.planned.tree.plan, self._path.planned.path.name
        title = f"{plan.campaign} {name}: {kind} at iteration {iteration}"
        wandb_run.alert(title, message)
        for sender in self._senders:
            sender.alert(kind, title, message)

    def end(self, state: str) -> None:
        """Let the trackers end this start: ``finished``, ``stopped`` or ``failed``."""
        if self._outside is not None:
            self._outside.look()
        for sender in self._senders:
            sender.end(state)

    def settle(self, seconds: float) -> None:
        """Wait until all trackers have ended, but at most so many seconds."""
        end = time.monotonic() + seconds
        for sender in self._senders:
            sender.settle(max(0.0, end - time.monotonic()))


def _say(text: str) -> None:
    print(f"lrps: {text}", flush=True)
