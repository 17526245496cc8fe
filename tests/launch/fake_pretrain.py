"""A stand-in for `megatron_lrps.pretrain`: real ranks under a real torchrun, which only pretend to train.

It prints Megatron's progress lines, leaves folders that look like complete checkpoints, honours SIGUSR2 and writes
the events that the executor goes by. Training with Megatron takes minutes and is tested elsewhere.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from megatron_lrps.campaign.activity import Teller
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import log_event
from megatron_lrps.campaign.start_point import find_start
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.processes import show_stacks
from megatron_lrps.storage.ownership import acquire

LINE = (
    " [2026-11-24 04:00:00.000000] iteration {:8d}/{:8d} | consumed samples: {:12d} | elapsed time per iteration (ms): "
    "{:.1f} | throughput per GPU (TFLOP/s/GPU): 0.1 | learning rate: {:.6E} | global batch size:     8 | "
    "lm loss: {:.6E} | loss scale: 1.0 | grad norm: 1.234 | "
    "number of skipped iterations:   0 | number of nan iterations:   0 |"
)
SAVE_INTERVAL = 5


def save(checkpoints: Path, iteration: int) -> None:
    folder = Checkpoint(checkpoints, iteration).folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in (".metadata", "metadata.json"):
        (folder / name).write_text("{}")


class Lockstep:
    """Ranks go from iteration to iteration together, as an all-reduce makes real ones do."""

    def __init__(self, folder: Path, rank: int, world: int) -> None:
        run = os.environ["TORCHELASTIC_RUN_ID"]
        self._files = [folder / f"pace-{run}-{each}" for each in range(world)]
        self._rank = rank
        self._count = 0

    def wait(self) -> None:
        self._count += 1
        with self._files[self._rank].open("a") as file:
            file.write(".")
        while any(not file.exists() or file.stat().st_size < self._count for file in self._files):
            time.sleep(0.002)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lrps-plan", type=Path, required=True)
    parser.add_argument("--lrps-path", required=True)
    parser.add_argument("--lrps-cpu", action="store_true")
    args = parser.parse_args()
    mode, seconds = os.environ.get("FAKE_MODE", ""), float(os.environ.get("FAKE_SECONDS", "0.01"))
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    tree = expand(load_plan(args.lrps_plan))
    path = tree.path(args.lrps_path)
    campaign = CampaignFolder(tree.plan.folder)
    folder = campaign.path(path.name)
    parent = campaign.path(path.parent).checkpoints if path.parent else None
    start = find_start(folder.checkpoints, parent=parent, fork=path.fork, end=path.end).iteration

    stopping: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, _: stopping.append(number))
    if rank == 0:
        threads = os.environ.get("OMP_NUM_THREADS")
        log_event(folder, "started", iteration=start, argv=sys.argv[1:], world=world, threads=threads)
    if mode in ("refused", "storage"):
        if rank == 0:
            log_event(folder, mode, message="lr.max is 1, the checkpoint has 2. Fix: restore it.")
            sys.exit({"refused": 78, "storage": 74}[mode])
        time.sleep(600)  # torchrun ends it

    show_stacks()
    if mode == "stall" and rank == 0:
        teller = Teller(folder, acquire(folder.root, say=print).token)
        teller.tell("training")
        teller.pulse(0.1)
    lockstep = Lockstep(folder.logs, rank, world)
    for iteration in range(start + 1, path.end + 1):
        time.sleep(seconds)
        if mode == "fail" and rank == world - 1 and iteration == 8:
            raise RuntimeError("the loss of this rank is not finite")
        lockstep.wait()
        if mode == "stall" and rank == 0 and iteration < 8:
            teller.iterated(iteration)
        while mode in ("hang", "stall") and iteration == 8:  # as in a collective that one rank never joins
            time.sleep(1)
        if rank == world - 1:
            print(
                LINE.format(iteration, path.end, iteration * 8, seconds * 1e3, 3e-4, 7.0 - iteration / 10), flush=True
            )
        if mode == "evaluate" and iteration == 8 and rank == 0:
            held = acquire(folder.root, say=print)
            Teller(folder, held.token).tell("evaluating", name="v1-web", done=12, total=40)
        while mode == "evaluate" and iteration == 8 and not stopping:
            time.sleep(0.01)
        if rank == 0 and (iteration % SAVE_INTERVAL == 0 or iteration in (*tree.fork_points(path.name), path.end)):
            save(folder.checkpoints, iteration)
        if stopping:
            if rank:
                time.sleep(600)  # torchrun ends it when the first rank has saved
            save(folder.checkpoints, iteration)
            log_event(folder, "stopped", reason="signal", iteration=iteration, exit_code=75)
            sys.exit(75)
    if rank == 0:
        log_event(folder, "done", iteration=path.end)


if __name__ == "__main__":
    main()
