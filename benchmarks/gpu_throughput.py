"""Iterations with the plugin against stock Megatron on one GPU: in FP8, or in bf16 without Transformer Engine.

The contract: at most 1.01 of the time.

    python benchmarks/gpu_throughput.py [PAIRS]

Stock is the same GPT script with the flags of `lrps args`, without the plugin's hooks. Runs alternate; the figure is
the median of the pairs' ratios of the median time of an iteration. Without a GPU it says so and exits with 0.
"""

import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

LIMIT = 1.01
SKIPPED = 5
"""First iterations, which warm up, are left out."""
ITERATIONS = 60
LARGER = (
    (", deterministic-mode: true", ""),
    ("hidden-size: 256", "hidden-size: 1024"),
    ("num-layers: 2", "num-layers: 8"),
    ("sequence_length: 128", "sequence_length: 1024"),
    ("num-attention-heads: 4", "num-attention-heads: 16"),
    (", valid: {a: data/valid}", ""),  # too short for such sequences, and no part of the timing
)
"""The tests' plan is too small to time."""
STOCK = "from megatron_lrps.training.megatron import gpt; gpt.main()"
OURS = re.compile(r"--(?:lrps-\S+|full-validation|multiple-validation-sets|validation-set-names)(?: [^-\s]\S*)?")
"""What stock does not know, and sets that mock data do not have."""
ELAPSED = re.compile(r"elapsed time per iteration \(ms\): ([0-9.]+)")


def seconds(command: list[str], folder: Path) -> float:
    from tests.gpu.campaigns import one_rank

    env = {**os.environ, "CUDA_DEVICE_MAX_CONNECTIONS": "1", **one_rank()}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return statistics.median(float(each) for each in ELAPSED.findall(done.stdout)[SKIPPED:]) / 1000


def main() -> None:
    try:
        import torch
    except ImportError:
        sys.exit("torch is not installed")
    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured")
        return
    from tests.gpu.campaigns import LOCAL, RECIPES, why_not, write_gpu_campaign

    precision, flags = ("bf16", LOCAL) if why_not("delayed") else ("fp8", RECIPES["delayed"])
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ratios = []
    for pair in range(pairs):
        times = {}
        for kind in ("stock", "plugin") if pair % 2 else ("plugin", "stock"):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                plan = write_gpu_campaign(folder, flags)
                text = plan.read_text().replace("iters: 16", f"iters: {2 * ITERATIONS}")
                faster = [("attention-backend: unfused", "attention-backend: auto")] if precision == "fp8" else []
                for before, after in (*LARGER, *faster):
                    text = text.replace(before, after)
                plan.write_text(text)
                ours = ["--lrps-plan", str(plan), "--lrps-path", "main", "--lrps-until", str(ITERATIONS)]
                if kind == "plugin":
                    command = [sys.executable, "-m", "megatron_lrps.pretrain", *ours]
                else:
                    line = subprocess.run(
                        [sys.executable, "-m", "megatron_lrps.cli", "args", str(plan), "--path", "main"],
                        capture_output=True, text=True, check=True,
                    ).stdout  # fmt: skip
                    flags = shlex.split(re.sub(OURS, "", line))
                    stock = [*flags, "--mock-data", "--train-iters", str(ITERATIONS), "--lr-decay-style", "constant"]
                    command = [sys.executable, "-c", STOCK, *stock]
                times[kind] = seconds(command, folder)
        ratios.append(times["plugin"] / times["stock"])
    found = statistics.median(ratios)
    print(json.dumps({"precision": precision, "ratio": found, "ratios": ratios, "limit": LIMIT}))
    sys.exit(found > LIMIT)


if __name__ == "__main__":
    main()
