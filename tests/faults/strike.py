"""A fault in training: a campaign is started, something of it is broken, and what is left is judged."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tests.faults.campaigns import Broken
from tests.faults.fault import Fault
from tests.faults.machine import HANGS, HARMLESS, spoiler

_ENDS_S = 120.0
"""Seconds after which a run that has not ended is said to hang."""
_HANGS_S = 400.0
"""The same, where the stall rule is to end it, which allows 240 s for a save."""
_RUN_S = 900.0
_SHAKEN_S = 8.0
"""Seconds for which a run has to bear a fault that is to break nothing."""


def judge(
    reference: Mapping[str, Mapping[int, float]],
    losses: Mapping[str, Mapping[int, float]],
    saved: Mapping[str, int],
    positions: Mapping[str, int],
    output: str,
) -> dict[str, Any]:
    """Judge a run that a fault has ended.

    Args:
        reference: Path -> iteration -> loss, of the run without a fault.
        losses: The same, of all that this campaign has logged.
        saved: Path -> newest whole checkpoint before the fault.
        positions: Path -> the iteration that the next start continues from.
        output: What ``lrps run`` has printed.

    Returns:
        ``lost``: iterations that will be trained again; ``kept``: whether every checkpoint is still there;
        ``equal``: whether each loss is the reference's, digit for digit; ``traceback``: whether one was shown.
    """
    last = {path: max(found) for path, found in losses.items() if found}
    return {
        "lost": sum(max(0, last[path] - positions[path]) for path in last),
        "kept": all(positions[path] >= iteration for path, iteration in saved.items()),
        "equal": all(
            reference[path].get(iteration) == loss
            for path, found in losses.items()
            for iteration, loss in found.items()
        ),
        "traceback": "Traceback (most recent call last)" in output,
    }


def strike(broken: Broken, fault: Fault, reference: Mapping[str, Mapping[int, float]]) -> dict[str, Any] | None:
    """Start a campaign, break what the fault says when it says so, and judge; None if it was trained before that.

    Args:
        broken: The campaign.
        fault: The fault.
        reference: Path -> iteration -> loss, of the run without a fault.
    """
    machine = spoiler(fault.target, broken.plan.parent.parent, broken.plan)
    alarms = broken.alarms()
    executor = broken.start(machine.environment, machine.prefix) if machine else broken.start()
    begun, since = time.monotonic(), time.time()
    output: list[str] = []
    try:
        if not _wait_for(broken, fault.phase, since, executor):
            assert executor.wait(_RUN_S) == 0, executor.communicate()[0][-3000:]
            return None
        time.sleep(fault.delay)
        doing, saved, found = broken.doing(since), broken.saved(), broken.processes()
        kind = fault.target
        if machine is not None:
            machine.arm(kind, [*found["rank"], *found["fork server"], *found["writer"]])
            if kind in HARMLESS:  # it breaks nothing: let it train on, and stop it
                with contextlib.suppress(subprocess.TimeoutExpired):
                    executor.wait(_SHAKEN_S)
                executor.terminate()
        else:
            kind, victims = _victims(found, fault)
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        try:
            output.append(executor.communicate(timeout=_HANGS_S if kind in HANGS else _ENDS_S)[0])
            ended = time.monotonic() - killed
        except subprocess.TimeoutExpired:
            ended = None
        left = left_after(broken)
    finally:
        end_all(broken)
        if machine is not None:
            machine.disarm()
    if executor.returncode == 0:
        return None  # it was trained before the fault
    facts = judge(reference, broken.losses(), saved, broken.positions(), "".join(output))
    code = executor.returncode if ended is not None else None
    times = {"after": round(killed - begun, 1), "ended": None if ended is None else round(ended, 1)}
    facts["alarm"] = broken.alarms() > alarms
    return {**asdict(fault), "target": kind, "doing": doing, **times, "code": code, "left": left, **facts}


def _wait_for(broken: Broken, phase: str, since: float, executor: subprocess.Popen[str]) -> bool:
    """Wait until the ranks report a phase; False if the run ends before."""
    if not phase:
        return True
    end = time.monotonic() + _RUN_S
    while time.monotonic() < end and executor.poll() is None:
        if broken.doing(since) == phase:
            return True
        time.sleep(0.005)
    return False


def _victims(found: Mapping[str, list[int]], fault: Fault) -> tuple[str, list[int]]:
    """Return what is killed, and its processes: what is not there yet is replaced by a rank, or by ``lrps run``."""
    if fault.target == "all of it":
        return fault.target, [pid for pids in found.values() for pid in pids]
    if fault.target == "all ranks" and found["rank"]:
        return fault.target, found["rank"]
    kind = fault.target if found.get(fault.target) else "rank" if found["rank"] else "lrps run"
    pids = sorted(found[kind])
    return kind, pids[fault.number % len(pids) :][:1] if pids else []


def left_after(broken: Broken) -> int:
    """Return the number of processes that are still there ten seconds after the end."""
    end = time.monotonic() + 10
    while (left := sum(map(len, broken.processes().values()))) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def end_all(broken: Broken) -> None:
    while left := [pid for pids in broken.processes().values() for pid in pids]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def finished(broken: Broken) -> None:
    """Train a campaign to its end, without faults."""
    executor = broken.start()
    output, _ = executor.communicate(timeout=_RUN_S)
    assert executor.returncode == 0, output[-3000:]
