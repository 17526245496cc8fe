"""The fault farm: faults at random instants of real runs, each of which has to go on as if nothing had happened.

    python -m tests.faults.farm [--begin 0] [--faults 1000] [--minutes M] [--only WORD ...] [--work DIR]

Each fault adds a JSON line to the results. The same command goes on where the last one ended: with the first number
that has no line. A fault that this machine cannot make is left out, and tried where it can be made: some need cc, or
root. ``--only PP2 async`` tries those faults alone that are of this layout and kind of save; a target and a phase can
be given too. ``python -m tests.faults.page`` makes docs/reliability.md of the results.

From number 100000 on, a node dies of a real Slurm cluster, which the farm starts on this machine; that takes root and
Slurm's packages: ``--begin 100000 --faults 100050``.
"""

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from megatron_lrps.version import __version__
from tests.faults.campaigns import PATHS, Broken
from tests.faults.commands import strike_command
from tests.faults.fault import COMMAND, IN_A_ROW, Fault
from tests.faults.machine import NODES, missing
from tests.faults.nodes import cluster_of_nodes, finish_jobs, strike_node
from tests.faults.strike import finished, strike
from tests.slurm.cluster import Cluster

_AGAIN = 6
"""The campaigns that one fault is tried on: it may come too late in the first ones."""
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "faults.jsonl"


def whole(work: Path, fault: Fault) -> dict[str, dict[int, float]]:
    """Return the losses of the run without a fault, which is trained if it has not been."""
    broken = Broken.made(work / f"{fault.layout}-{fault.save}-whole", fault.layout, fault.save)
    if not all(broken.saved().get(path) == end for path, end in zip(PATHS, (40, 80), strict=True)):
        finished(broken)
    return broken.losses()


def _in_training(work: Path, fault: Fault, cluster: Cluster | None) -> dict[str, Any]:
    """Try a fault in training, by `lrps run` or by the jobs of a cluster."""
    number, reference = fault.number, whole(work, fault)
    tried, finish = (
        (strike, finished) if cluster is None else (partial(strike_node, cluster), partial(finish_jobs, cluster))
    )
    name = f"{fault.layout}-{fault.save}{'-nodes' if cluster else ''}"
    broken = Broken.made(work / name, fault.layout, fault.save)
    attempts = 1
    while (facts := tried(broken, fault, reference)) is None:
        assert broken.losses() == reference, f"after {number} faults the whole run is another"
        assert (attempts := attempts + 1) <= _AGAIN, f"fault {number} broke nothing on {_AGAIN} campaigns"
        broken.renew()
        # What it was drawn for was too short to be seen, or its instant one at which there was nothing to break.
        fault = replace(fault, phase="training", delay=fault.delay / 2)
    if number % IN_A_ROW == IN_A_ROW - 1:
        finish(broken)
        facts["equal_at_the_end"] = broken.losses() == reference
        broken.renew()
    return facts


def farm(results: Path, work: Path, numbers: Iterable[int], seconds: float) -> None:
    """Try the faults of these numbers that have no result, until the time is over."""
    end = time.monotonic() + seconds
    results.parent.mkdir(parents=True, exist_ok=True)
    done = {json.loads(line)["number"] for line in results.read_text().splitlines()} if results.exists() else set()
    cluster: Cluster | None = None
    with contextlib.ExitStack() as stack:
        for number in numbers:
            if number in done:
                continue
            if time.monotonic() > end:
                return
            fault = Fault.drawn(number)
            if why := missing(fault.target):
                print(f"fault {number}, {fault.target}, is left out: {why}", flush=True)
                continue
            if fault.target in NODES and cluster is None:
                cluster = stack.enter_context(cluster_of_nodes())
            if fault.layout == COMMAND:
                facts = strike_command(work, fault)
            else:
                facts = _in_training(work, fault, cluster if fault.target in NODES else None)
            with results.open("a") as file:
                file.write(json.dumps({**facts, "version": __version__}) + "\n")
            print(json.dumps(facts), flush=True)


def main() -> None:
    """Run the farm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--begin", type=int, default=0, help="the first number")
    parser.add_argument("--faults", type=int, default=1000, help="how many there are to be in all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no fault after this time")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lrps-faults")
    parser.add_argument("--only", nargs="*", default=[], help="only faults with these words", metavar="WORD")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    numbers = [
        number
        for number, fault in ((each, Fault.drawn(each)) for each in range(given.begin, given.faults))
        if {*given.only} <= {fault.layout, fault.save, fault.target, fault.phase}
    ]
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the campaign's processes end with it
    farm(given.results, given.work.resolve(), numbers, given.minutes * 60)


if __name__ == "__main__":
    main()
