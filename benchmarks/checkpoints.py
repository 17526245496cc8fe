"""What does the plugin cost at a checkpoint? A fork against stock's resume, and a save with it against one without.

    python benchmarks/checkpoints.py [PAIRS]

The contract has two parts. From its start to its first iteration, a fork takes no longer than stock's resume of the
same checkpoint, and copies no byte. A save holds training up for at most 1.02 x stock's. Both are timed in whole
processes that run in turn, and the spread stands beside each ratio. The exit code is 1 if a median is over its limit by
more than the spread of stock's own runs.
"""

import re
import statistics
import sys
import tempfile
from pathlib import Path

from _training import BARE, BATCH, MODEL, PLUGIN, SEQUENCE, VOCABULARY, train, write_plan

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.manifest import take_hashes, take_sizes
from megatron_lrps.plan.cpu_flags import CPU_FLAGS
from megatron_lrps.plan.flags import argument_line

FORK, LAST, SAVES = 2, 4, 6
FORK_LIMIT, SAVE_LIMIT = 1.0, 1.02
WIDE = {**MODEL, "num-layers": 6, "hidden-size": 384, "ffn-hidden-size": 1024, "micro-batch-size": 2}
"""14 million parameters: a checkpoint of 170 MB."""


def flags(folder: Path, name: str, iterations: int, **more: object) -> list[str]:
    """Stock Megatron's line; ``more`` replaces and adds flags, None takes one away."""
    line = {
        **WIDE,
        **CPU_FLAGS,
        "seq-length": SEQUENCE,
        "max-position-embeddings": SEQUENCE,
        "global-batch-size": 2,
        "train-iters": iterations,
        "lr": 3e-4,
        "min-lr": 3e-5,
        "lr-decay-style": "constant",
        "data-path": str(folder / "data"),
        "split": "100,0,0",
        "eval-iters": 0,
        "tokenizer-type": "NullTokenizer",
        "vocab-size": VOCABULARY - 1,
        "log-interval": 1,
        "save": str(folder / name),
        "ckpt-format": "torch_dist",
        **{key.replace("_", "-"): value for key, value in more.items()},
    }
    return argument_line({key: value for key, value in line.items() if value is not None})  # type: ignore[misc]


def first_iteration(log: Path) -> float:
    """Seconds from the first rank's start to the end of its first iteration, by the log's own clock."""
    text = log.read_text()
    began = re.search(r"BEGAN ([\d.]+)", text)
    ended = re.search(r"FIRST ([\d.]+)", text)
    if began is None or ended is None:
        sys.exit(f"{log} has no first iteration:\n{text[-2000:]}")
    return float(ended[1]) - float(began[1])


CLOCK = """
import time
print("BEGAN", time.time(), flush=True)
"""
FIRST = """
from megatron.training import training
log = training.training_log
def first(*args, **kwargs):
    if training.training_log is first:
        training.training_log = log
        print("FIRST", time.time(), flush=True)
    return log(*args, **kwargs)
training.training_log = first
"""


def clocked(code: str, install: str) -> str:
    """An entry that says when it began and when its first iteration had ended."""
    return f"{CLOCK}{install}{FIRST}{code}"


def report(title: str, limit: float, pairs: list[tuple[float, float]]) -> bool:
    """Print both medians, their ratio and spread; whether the limit holds."""
    ours, stock = zip(*pairs, strict=True)
    ratios = sorted(mine / theirs for mine, theirs in pairs)
    ratio = statistics.median(ours) / statistics.median(stock)
    noise = (max(stock) - min(stock)) / statistics.median(stock) / 2
    print(f"{title}: {statistics.median(ours):.3f} s with, {statistics.median(stock):.3f} s without the plugin")
    print(f"  ratio of medians {ratio:.3f}, of pairs {ratios[0]:.3f} to {ratios[-1]:.3f}; stock's spread +-{noise:.3f}")
    met = ratio <= limit + noise
    print(f"  limit {limit}: {'met' if ratio <= limit else 'within the spread' if met else 'missed'}")
    return met


def forks(folder: Path, pairs: int) -> bool:
    """From start to the first iteration: our fork off a stock checkpoint, and stock's resume of it."""
    train(BARE, flags(folder, "main", LAST, save_interval=FORK, exit_interval=FORK), folder / "main.log")
    fork = Checkpoint(folder / "main", FORK).folder
    take_hashes(fork, take_sizes(fork))  # with a manifest a fork reads all files against their hashes
    install = "from megatron_lrps.training.megatron import hooks; hooks.install(cpu=True)\n"
    bare = "from megatron_lrps.training import cpu; cpu.install()\n"
    timed = []
    for number in range(-1, pairs):
        branch, resume = folder / f"branch-{number}.log", folder / f"resume-{number}.log"
        runs = [
            (
                clocked(PLUGIN, install),
                [
                    *flags(folder, f"branch-{number}", 0, train_iters=None, lr_decay_style=None),
                    *("--lrps-cpu", "--lrps-fork-iter", str(FORK), "--lrps-decay-iters", "2"),
                    *("--lrps-decay-shape", "cosine", "--lrps-parent", str(folder / "main")),
                ],
                branch,
            ),
            (
                clocked(BARE, bare),
                flags(folder, f"resume-{number}", LAST, load=str(folder / "main"), ckpt_step=FORK),
                resume,
            ),
        ]
        for code, line, log in runs if number % 2 else reversed(runs):
            train(code, line, log)
        if number >= 0:  # the first pair of each warms the page cache and the datasets' indices
            timed.append((first_iteration(branch), first_iteration(resume)))
    copied = list((folder / "branch-0").glob(f"iter_{FORK:07d}"))
    print(f"bytes copied by a fork: {sum(file.stat().st_size for each in copied for file in each.iterdir())}")
    return report("fork to the end of its first iteration", FORK_LIMIT, timed) and not copied


def stalls(folder: Path, pairs: int) -> bool:
    """What Megatron's own timer says of a save, in runs that save at every second iteration."""
    timed = []
    plan = folder / "plan.yaml"
    text = plan.read_text()
    for key, value in WIDE.items():
        text = re.sub(rf"\b{key}: [\w.]+", f"{key}: {value}", text)
    plan.write_text(
        re.sub(r"save-interval: \d+", "save-interval: 2", text)
        .replace(f"global_batch_size: {BATCH}", "global_batch_size: 2")
        .replace("RMSnorm", "RMSNorm")
    )
    for number in range(pairs):
        ours, stock = folder / f"save-with-{number}.log", folder / f"save-without-{number}.log"
        plan.write_text(re.sub(r"save: run\S*", f"save: run{number}", plan.read_text()))
        planned = ["--lrps-plan", str(plan), "--lrps-path", "main", "--lrps-cpu", "--exit-interval", str(2 * SAVES)]
        runs = [
            (PLUGIN, planned, ours),
            (BARE, flags(folder, f"stock-{number}", 100, save_interval=2, exit_interval=2 * SAVES), stock),
        ]
        for code, line, log in runs if number % 2 else reversed(runs):
            train(code, line, log)
        timed.append((median_save(ours), median_save(stock)))
    return report("save", SAVE_LIMIT, timed)


def median_save(log: Path) -> float:
    """Median seconds of a run's saves, less its first, which makes the writers."""
    found = re.findall(r"save-checkpoint \.*: \(([\d.]+),", log.read_text())
    return statistics.median([float(value) / 1000 for value in found][1:])


def main(pairs: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_plan(folder, 60)
        met = [forks(folder, pairs), stalls(folder, pairs)]
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
