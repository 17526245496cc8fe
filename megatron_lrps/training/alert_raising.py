"""Raising alerts while a path trains: into its history, and to the plan's hook; training never waits for either.

The last rank judges, since it has the loss and writes TensorBoard. Megatron's own check may end the run before there
is a figure to judge: that is an alert too. Knows nothing of ``megatron.training``; ``hooks.py`` calls it.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.plan.keys.alerts import Alerts
from megatron_lrps.storage.files import read_json, write_atomic
from megatron_lrps.training.alert_rules import Alert, Watcher
from megatron_lrps.training.session import Run

LOGGED = ("loss_dict", "total_loss_dict", "learning_rate", "iteration", "loss_scale", "report_memory_flag",
          "skipped_iter", "grad_norm")  # fmt: skip
"""The first parameters of Megatron's ``training_log``."""
MEMORY = "alerts.json"
"""In a path's folder: what its rules went by at its last save. The last rank alone writes it."""
_LOSS = "lm loss"
_REJECTED = (16, 17)
"""Exit codes of a run that Megatron's check of results has ended (core/rerun_state_machine.py)."""
_SAID = 500


class Alarm:
    """This process's part in a path's alerts.

    Args:
        run: This process's, of a plan.
        args: Megatron's, validated.

    Raises:
        RefusedError: where the plan's hook is no program on this node.
    """

    def __init__(self, run: Run, args: Namespace) -> None:
        assert run.planned is not None
        self._run, self._args = run, args
        plan = run.planned.tree.plan
        self._rules: Alerts = plan.alerts
        self._hook = plan.alerts.hook
        self._facts = {"campaign": plan.campaign, "path": run.planned.path.name, "save": str(plan.folder)}
        self._judges = args.rank == args.world_size - 1
        # Elsewhere the loss is still on its way from the device, and reading it would make training wait.
        self._interval: int = args.tensorboard_log_interval
        self._watcher = Watcher(self._rules)
        self._iteration, self._remembered = 0, 0
        self._file = None if run.folder is None else run.folder.root / MEMORY
        self._raised: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        if self._hook and shutil.which(self._hook[0]) is None:
            raise RefusedError(
                f"alerts.hook: {self._hook[0]!r} is no program on {os.uname().nodename}.",
                "name one by its path or on PATH, make it executable, or remove alerts.hook.",
            )

    def see(self, iteration: int, losses: Mapping[str, Any], norm: float | None, *, skipped: int) -> None:
        """Judge an iteration that has been logged; on the last rank alone."""
        if not self._judges:
            return
        if not self._iteration:
            self._recall()
        self._remember()
        self._iteration = iteration
        loss = losses.get(_LOSS) if iteration % self._interval == 0 else None
        figures = (None if loss is None else float(loss), None if norm is None else float(norm))
        for alert in self._watcher.see(iteration, *figures, skipped=bool(skipped)):
            self._raise(alert)

    def see_end(self, error: BaseException) -> None:
        """Raise an alert where Megatron's own check is what ends the run."""
        if isinstance(error, SystemExit) and error.code in _REJECTED and self._judges:
            said = f"with exit code {error.code}: {_rejection()}"
        elif isinstance(error, RuntimeError) and "Unexpected result" in str(error) and _first_to_say():
            said = f"on rank {self._args.rank}: {error}"  # of ranks that fail at once, one speaks
        else:
            return
        iteration = getattr(self._args, "curr_iteration", 0) + 1
        message = f"Megatron's check of results ended the run {said}"
        self._raise(Alert(kind="rejected", iteration=iteration, message=message[:_SAID], values={}))

    def settle(self, seconds: float) -> None:
        """Wait until what was raised is recorded and its hooks have ended, or no longer than so many seconds."""
        end = time.monotonic() + seconds
        if self._iteration:
            self._remember()
        for kind, count in self._unsaid.items():
            message = f"{kind}: {count:,} more until the run ended, within {self._rules.cool_down:g} s of the last one"
            self._record("alert", self._iteration, kind=kind, message=message, values={})
        self._unsaid.clear()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _recall(self) -> None:
        """Go on where the run that saved this start's checkpoint was; a fork or a start from scratch begins anew."""
        start = self._run.start
        if self._file is not None and start is not None and not start.forked and start.iteration:
            memory = read_json(self._file)
            if memory is not None and memory.get("iteration") == start.iteration:
                self._watcher.recall(memory)

    def _remember(self) -> None:
        """Write down what the rules go by where the last iteration was saved: a resume starts from there."""
        saved = self._run.saved
        if self._file is None or saved is None or saved != self._iteration or saved == self._remembered:
            return
        self._remembered = saved
        memory = json.dumps({"iteration": saved, **self._watcher.memory()})
        self._start(f"alerts of {saved}", self._write, self._file, memory)

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
        facts: dict[str, Any] = {"kind": alert.kind, "message": f"{alert.kind}: {alert.message}"}
        facts["values"] = dict(alert.values)
        if unsaid := self._unsaid.pop(alert.kind, 0):
            facts["unsaid"] = unsaid
        self._start(f"alert {alert.iteration} {alert.kind}", self._deliver, alert.iteration, facts)

    def _deliver(self, iteration: int, facts: Mapping[str, Any]) -> None:
        print(f"lrps: alert at iteration {iteration}: {facts['message']}", flush=True)
        self._record("alert", iteration, **facts)
        if self._hook:
            given = {"time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()), **self._facts}
            failure = run_hook(
                self._hook, {**given, "iteration": iteration, **facts}, Path(self._facts["save"]), self._rules
            )
            if failure is not None:
                print(f"lrps: {failure}", flush=True)
                self._record("hook_failed", iteration, message=failure)

    def _record(self, event: str, iteration: int, **fields: Any) -> None:
        # A full disk takes no alert; the log has it.
        with contextlib.suppress(StorageError):
            self._run.event(event, iteration=iteration, **fields)


def run_hook(command: Sequence[str], facts: Mapping[str, Any], folder: Path, rules: Alerts) -> str | None:
    """Run an alert's hook to its end, in ``folder``; what went wrong, or None.

    Args:
        command: The program and its arguments; no shell sees them.
        facts: JSON on its standard input; texts and numbers also as ``LRPS_ALERT_<KEY>`` in its environment.
        folder: Where it is run.
        rules: Whose ``hook_timeout`` it has.
    """
    known = {
        f"LRPS_ALERT_{key.upper()}": str(value) for key, value in facts.items() if isinstance(value, str | int | float)
    }
    name = f"alerts.hook {command[0]}"
    try:
        # Files, not pipes: whatever it reads, leaves or starts, nobody waits at the other end.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(json.dumps(dict(facts)).encode())
            given.seek(0)
            process = subprocess.Popen(
                command, stdin=given, stdout=said, stderr=said, cwd=folder, env={**os.environ, **known},
                start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(rules.hook_timeout)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return f"{name} was killed after {rules.hook_timeout:g} s"
            if code == 0:
                return None
            said.seek(0)
            lines = said.read(1 << 20).decode(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
            return f"{name} ended with {code}: {last.strip()[:_SAID]}"
    except (OSError, ValueError) as error:
        return f"{name} could not be run: {error}"


def _rejection() -> str:
    """What Megatron's check rejected, where that was on this rank."""
    from megatron.core.rerun_state_machine import get_rerun_state_machine

    call = getattr(get_rerun_state_machine(), "failed_validation_call", None)
    said = getattr(getattr(call, "caller", None), "message", None)
    return str(said) if said else "the log names the rank and the value"


def _first_to_say() -> bool:
    """Whether no other rank has said yet that it ends."""
    try:
        store = torch.distributed.distributed_c10d._get_default_store()
        return bool(store.add("lrps-rejected", 1) == 1)
    except (AttributeError, RuntimeError, ValueError):  # rank 0 has ended, and its store with it
        return True
