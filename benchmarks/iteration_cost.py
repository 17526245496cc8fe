"""What the plugin adds to an iteration, over the iteration's time. The contract: at most 0.001.

    python benchmarks/iteration_cost.py [ITERATIONS] [PAIRS]
    PYTHONPATH=.venv/releases/0.18.2 python benchmarks/iteration_cost.py   # on another release of Megatron

First its own code is timed inside of one real training process: the scheduler's learning rate, the timeline's
look-up around Megatron's data set, the hook that decides on the exit, and the one that judges what is logged, each
less the Megatron code that it calls. Then whole runs with and without the plugin are timed in turn; their noise is
larger than the effect, so they only stand beside it, with their spread. The exit code is 1 if the first figure is over
the limit.
"""

import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from _training import BARE, BATCH, MODEL, PLUGIN, SEQUENCE, VOCABULARY, train, write_plan

from megatron_lrps.plan.cpu_flags import CPU_FLAGS
from megatron_lrps.plan.flags import argument_line

LIMIT = 0.001
SKIPPED = 3
"""First iterations, which fill caches, are left out."""

MEASURED = """
import functools, json, time
from megatron_lrps.training import cpu
cpu.install()
from megatron.core.datasets.gpt_dataset import GPTDataset
from megatron.training import training
from megatron_lrps.training.megatron import hooks
from megatron_lrps.training.megatron.scheduler import PathSwitchingScheduler
from megatron_lrps.training.timeline import Timeline

clock, rows, last = time.perf_counter, [], [None]
spent = dict.fromkeys(("scheduler", "timeline", "exit", "alerts"), 0.0)

def timed(function, key, sign):
    @functools.wraps(function)
    def call(*args, **kwargs):
        start = clock()
        try:
            return function(*args, **kwargs)
        finally:
            spent[key] += sign * (clock() - start)
    return call

PathSwitchingScheduler.get_lr = timed(PathSwitchingScheduler.get_lr, "scheduler", 1)
Timeline.__getitem__ = timed(Timeline.__getitem__, "timeline", 1)
GPTDataset.__getitem__ = timed(GPTDataset.__getitem__, "timeline", -1)
hooked = {"checkpoint_and_decide_exit": "exit", "training_log": "alerts"}
for name, key in hooked.items():
    setattr(training, name, timed(getattr(training, name), key, -1))
hooks.install(cpu=True)
for name, key in hooked.items():
    setattr(training, name, timed(getattr(training, name), key, 1))
hook = training.checkpoint_and_decide_exit

def decide(*args, **kwargs):
    result = hook(*args, **kwargs)
    now = clock()
    if last[0] is not None:
        rows.append({"iteration": now - last[0], **spent})
    last[0] = now
    spent.update(dict.fromkeys(spent, 0.0))
    return result

training.checkpoint_and_decide_exit = decide
from megatron_lrps.pretrain import main
try:
    main()
finally:
    json.dump(rows, open("rows.json", "w"))
"""
"""The plugin's entry with a clock around each of its parts; Megatron's share is taken off again."""


def planned(plan: Path) -> list[str]:
    return ["--lrps-plan", str(plan), "--lrps-path", "main", "--lrps-cpu"]


def stock(plan: Path, iterations: int) -> list[str]:
    """The flags of a run without the plugin, on the same model and data."""
    flags = {
        **MODEL,
        **CPU_FLAGS,
        "seq-length": SEQUENCE,
        "max-position-embeddings": SEQUENCE,
        "global-batch-size": BATCH,
        "train-iters": iterations,
        "lr": 3e-4,
        "min-lr": 3e-5,
        "lr-decay-style": "constant",
        "data-path": str(plan.parent / "data"),
        "split": "100,0,0",
        "eval-iters": 0,
        "tokenizer-type": "NullTokenizer",
        "vocab-size": VOCABULARY - 1,
        "log-interval": 1,
        "log-throughput": True,
        "tensorboard-log-interval": 1,
        "tensorboard-dir": str(plan.parent / "tensorboard"),
        "save": str(plan.parent / "save"),
        "ckpt-format": "torch_dist",
    }
    return argument_line(flags)


def own_cost(folder: Path, iterations: int) -> float:
    """Print what each part adds, and return all of them over the iteration's time (medians)."""
    plan = write_plan(folder, iterations)
    code = MEASURED.replace('"rows.json"', repr(str(folder / "rows.json")))
    train(code, planned(plan), folder / "log")
    rows = json.loads((folder / "rows.json").read_text())[SKIPPED:-1]  # the last one saves the fork point
    whole = statistics.median(row["iteration"] for row in rows)
    parts = {key: statistics.median(row[key] for row in rows) for key in rows[0] if key != "iteration"}
    print(f"iteration        {1e3 * whole:9.1f} ms   (median of {len(rows)})")
    for key, value in parts.items():
        print(f"  {key:<14} {1e6 * value:9.1f} us   {value / whole:.6f}")
    sums = [sum(row[key] for key in parts) / row["iteration"] for row in rows]
    print(f"  largest share of any iteration: {max(sums):.6f}")
    return statistics.median(sums)


def whole_runs(folder: Path, iterations: int, pairs: int) -> None:
    """Print times of whole runs with and without the plugin, run in turn."""
    times: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    for number in range(pairs):
        for name in times if number % 2 else reversed(times):
            run = folder / f"{name}-{number}"
            run.mkdir()
            plan = write_plan(run, iterations)
            start = time.perf_counter()
            if name == "with":
                train(PLUGIN, planned(plan), run / "log")
            else:
                train(BARE, stock(plan, iterations), run / "log")
            elapsed = time.perf_counter() - start
            steps = re.findall(r"elapsed time per iteration \(ms\): ([\d.]+)", (run / "log").read_text())
            times[name].append((elapsed, statistics.median(map(float, steps[SKIPPED:]))))
    for index, label in ((0, "whole process, s"), (1, "iteration, ms")):
        for name, found in times.items():
            values = sorted(value[index] for value in found)
            print(
                f"{label:<17} {name:<8} median {statistics.median(values):8.2f}   {values[0]:.2f} to {values[-1]:.2f}"
            )
        ratios = sorted(a[index] / b[index] for a, b in zip(times["with"], times["without"], strict=True))
        print(f"{'':<17} ratio    median {statistics.median(ratios):8.3f}   {ratios[0]:.3f} to {ratios[-1]:.3f}")


def main(iterations: int, pairs: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "own").mkdir()
        share = own_cost(root / "own", iterations)
        print(
            f"plugin's own code over the iteration: {share:.6f}, limit {LIMIT}: {'met' if share <= LIMIT else 'missed'}"
        )
        whole_runs(root, iterations, pairs)
    return int(share > LIMIT)


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:]]
    sys.exit(main(*(given + [30, 5][len(given) :])))
