"""The fault farm: kills at random instants of real runs, each of which has to go on as if nothing had happened.

    python -m tests.faults.farm [--faults 1000] [--minutes M] [--work DIR] [--results FILE]

Each fault adds a JSON line to the results. The same command goes on where the last one ended: the number of lines is
the number of faults so far, and draws the next one. ``python -m tests.faults.page`` makes docs/reliability.md of them.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from megatron_lrps.version import __version__
from tests.faults.campaigns import LAYOUTS, PATHS, SAVES, Broken

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "faults.jsonl"
TARGETS = ("rank", "all ranks", "torchrun", "lrps run", "all of it", "writer", "fork server")
PHASES = ("", "starting", "reading", "loading", "training", "evaluating", "saving", "finishing")
"""What the ranks report when the clock for the kill begins; nothing is the start of ``lrps run``."""
_LATEST_S = {"": 12.0, "training": 4.0, "starting": 0.3, "evaluating": 0.3, "saving": 0.3}
_LATE_S = 0.05
"""Seconds after its begin at which a phase is still likely to last."""
_ENDS_S = 120.0
"""Seconds after which a run that has not ended is said to hang; the shortest stall is 300."""
_RUN_S = 900.0


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        number: Its number; it decides all else.
        layout: Of the campaign that it is tried on.
        save: How that saves.
        target: What is killed.
        phase: When.
        delay: The seconds after that.
    """

    number: int
    layout: str
    save: str
    target: str
    phase: str
    delay: float

    @classmethod
    def drawn(cls, number: int) -> "Fault":
        """Return the fault of this number."""
        dice = random.Random(f"fault {number}")
        # Ten in a row are tried on one campaign, so that it comes to its end.
        cells = [(layout, save) for layout in LAYOUTS for save in SAVES]
        layout, save = cells[number // 10 % len(cells)]
        targets = TARGETS if save == "async" else TARGETS[:-2]
        phase = dice.choice(PHASES)
        return cls(number, layout, save, dice.choice(targets), phase, dice.uniform(0.0, _LATEST_S.get(phase, _LATE_S)))


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
    """Start a campaign, kill what the fault says when it says so, and judge; None if it was trained before that."""
    executor = broken.start()
    begun, since = time.monotonic(), time.time()
    output: list[str] = []
    try:
        if not _wait_for(broken, fault.phase, since, executor):
            assert executor.wait(_RUN_S) == 0, executor.communicate()[0][-3000:]
            return None
        time.sleep(fault.delay)
        doing, saved, found = broken.doing(since), broken.saved(), broken.processes()
        kind, victims = _victims(found, fault)
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        try:
            output.append(executor.communicate(timeout=_ENDS_S)[0])
            ended = time.monotonic() - killed
        except subprocess.TimeoutExpired:
            ended = None
        left = _left(broken)
    finally:
        _end_all(broken)
    if executor.returncode == 0:
        return None  # it was trained before the kill
    facts = judge(reference, broken.losses(), saved, broken.positions(), "".join(output))
    code = executor.returncode if ended is not None else None
    times = {"after": round(killed - begun, 1), "ended": None if ended is None else round(ended, 1)}
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


def _left(broken: Broken) -> int:
    """Return the number of processes that are still there ten seconds after the end."""
    end = time.monotonic() + 10
    while (left := sum(map(len, broken.processes().values()))) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _end_all(broken: Broken) -> None:
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


def whole(work: Path, fault: Fault) -> dict[str, dict[int, float]]:
    """Return the losses of the run without a fault, which is trained if it has not been."""
    broken = Broken.made(work / f"{fault.layout}-{fault.save}-whole", fault.layout, fault.save)
    if not all(broken.saved().get(path) == end for path, end in zip(PATHS, (40, 80), strict=True)):
        finished(broken)
    return broken.losses()


def farm(results: Path, work: Path, faults: int, seconds: float) -> None:
    """Try faults until there are so many results, or the time is over."""
    end = time.monotonic() + seconds
    results.parent.mkdir(parents=True, exist_ok=True)
    done = len(results.read_text().splitlines()) if results.exists() else 0
    for number in range(done, faults):
        if time.monotonic() > end:
            return
        fault = Fault.drawn(number)
        reference = whole(work, fault)
        broken = Broken.made(work / f"{fault.layout}-{fault.save}", fault.layout, fault.save)
        while (facts := strike(broken, fault, reference)) is None:
            assert broken.losses() == reference, f"after {number} faults the whole run is another"
            broken.renew()
            fault = replace(fault, phase="training")  # what it was drawn for was too short to be seen
        if number % 10 == 9:
            finished(broken)
            facts["equal_at_the_end"] = broken.losses() == reference
            broken.renew()
        with results.open("a") as file:
            file.write(json.dumps({**facts, "version": __version__}) + "\n")
        print(json.dumps(facts), flush=True)


def main() -> None:
    """Run the farm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000, help="how many there are to be in all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no fault after this time")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lrps-faults")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the campaign's processes end with it
    farm(given.results, given.work.resolve(), given.faults, given.minutes * 60)


if __name__ == "__main__":
    main()
