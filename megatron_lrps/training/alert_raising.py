"""Alerts are raised while a path trains: they go into its history and to the plan's hook. Training waits for neither.

The last rank judges, since it has the loss and writes TensorBoard. Megatron's own check may end the run before there
is a figure to judge: that is an alert too.
"""

import contextlib
import json
import math
import os
import shutil
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from megatron_lrps.campaign.alert_hook import SAID, hook_facts, run_hook
from megatron_lrps.campaign.start_point import StartPoint
from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.plan.keys.alerts import Alerts
from megatron_lrps.storage.files import read_json, write_atomic
from megatron_lrps.training.alert_rules import Alert, Watcher
from megatron_lrps.training.megatron import result_check
from megatron_lrps.training.path_to_train import PathToTrain

MEMORY = "alerts.json"
"""The file in a path's folder with the state of its rules at the last save. Only the last rank writes it."""
_LOSS = "lm loss"


class AlertRaiser:
    """The raiser of one path's alerts.

    Args:
        path: The path that this process trains, of a plan.
        args: Megatron's arguments, validated.
        tell: Told of each alert besides the hook: its kind, iteration and message.

    Raises:
        RefusedError: if the plan's hook is not a program on this node.
    """

    def __init__(self, path: PathToTrain, args: Namespace, tell: Callable[[str, int, str], None]) -> None:
        assert path.planned is not None
        self._path, self._args, self._tell = path, args, tell
        plan = path.planned.tree.plan
        self._rules: Alerts = plan.alerts
        self._hook = plan.alerts.hook
        self._plan, self._name = plan, path.planned.path.name
        self._judges = args.rank == args.world_size - 1
        # Elsewhere the loss is still on its way from the device, and reading it would make training wait.
        self._interval: int = args.tensorboard_log_interval
        self._watcher = Watcher(self._rules)
        self._iteration = 0
        self._file = None if path.folder is None else path.folder.root / MEMORY
        self._raised: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        if self._hook and shutil.which(self._hook[0]) is None:
            raise RefusedError(
                f"alerts.hook: {self._hook[0]!r} is not a program on {os.uname().nodename}.",
                "name one by its path or on PATH, make it executable, or remove alerts.hook.",
            )

    def see(self, iteration: int, losses: Mapping[str, Any], norm: float | None, *, skipped: int) -> None:
        """Judge an iteration that has been logged. Only the last rank does."""
        if not self._judges:
            return
        self._iteration = iteration
        loss = losses.get(_LOSS) if iteration % self._interval == 0 else None
        figures = (None if loss is None else float(loss), None if norm is None else float(norm))
        for alert in self._watcher.see(iteration, *figures, skipped=bool(skipped)):
            self._raise(alert)

    def loads(self, start: StartPoint) -> None:
        """Restore the state of the run that saved this checkpoint; a fork and a start from scratch begin anew."""
        if self._judges and self._file is not None and not start.forked and start.iteration:
            memory = read_json(self._file)
            if memory is not None and memory.get("iteration") == start.iteration:
                self._watcher.recall(memory)

    def saved(self, iteration: int) -> None:
        """Write down the state of the rules at a saved iteration: a resume starts from there."""
        if self._file is not None and iteration == self._iteration:
            memory = json.dumps({"iteration": iteration, **self._watcher.memory()})
            self._start(f"alerts of {iteration}", self._write, self._file, memory)

    def see_end(self, error: BaseException) -> None:
        """Raise an alert if Megatron's own check ends the run."""
        if (code := result_check.exit_code_of_check(error)) is not None and self._judges:
            said = f"with exit code {code}: {result_check.rejected_result()}"
        elif result_check.raised_by_check(error) and _first_to_say():
            said = f"on rank {self._args.rank}: {error}"  # if several ranks fail at once, one speaks
        else:
            return
        message = f"Megatron's check of results ended the run {said}"
        self._raise(Alert("rejected", getattr(self._args, "curr_iteration", 0) + 1, message[:SAID], {}))

    def settle(self, seconds: float) -> None:
        """Wait until raised alerts are recorded and their hooks have ended, but at most so many seconds."""
        end = time.monotonic() + seconds
        for kind, count in self._unsaid.items():
            message = f"{kind}: {count:,} more until the run ended, within {self._rules.cool_down:g} s of the last one"
            self._record("alert", self._iteration, kind=kind, message=message, values={})
        self._unsaid.clear()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _write(self, file: Path, memory: str) -> None:
        with contextlib.suppress(StorageError):  # then a resume begins anew
            write_atomic(file, memory)

    def _start(self, name: str, work: Callable[..., None], *args: Any) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, args=args, name=name)
        self._threads.append(thread)
        thread.start()

    def _raise(self, alert: Alert) -> None:
        now = time.monotonic()
        if now - self._raised.get(alert.kind, -math.inf) < self._rules.cool_down:
            self._unsaid[alert.kind] = self._unsaid.get(alert.kind, 0) + 1
            return
        self._raised[alert.kind] = now
        message, values = f"{alert.kind}: {alert.message}", dict(alert.values)
        facts: dict[str, Any] = {"kind": alert.kind, "message": message, "values": values}
        if unsaid := self._unsaid.pop(alert.kind, 0):
            facts["unsaid"] = unsaid
        self._start(f"alert {alert.iteration} {alert.kind}", self._deliver, alert.iteration, facts)

    def _deliver(self, iteration: int, facts: Mapping[str, Any]) -> None:
        print(f"lrps: alert at iteration {iteration}: {facts['message']}", flush=True)
        self._record("alert", iteration, **facts)
        self._tell(facts["kind"], iteration, facts["message"])
        if self._hook:
            told = hook_facts(self._plan, self._name, iteration, facts)
            if (failure := run_hook(self._hook, told, self._plan.folder, self._rules)) is not None:
                print(f"lrps: {failure}", flush=True)
                self._record("hook_failed", iteration, message=failure)

    def _record(self, event: str, iteration: int, **fields: Any) -> None:
        # A full disk takes no alert; the log has it.
        with contextlib.suppress(StorageError):
            self._path.log(event, iteration=iteration, **fields)


def _first_to_say() -> bool:
    """Whether no other rank has said yet that it ends."""
    try:
        store = torch.distributed.distributed_c10d._get_default_store()
        return bool(store.add("lrps-rejected", 1) == 1)
    except (AttributeError, RuntimeError, ValueError):  # rank 0 has ended, and its store with it
        return True
