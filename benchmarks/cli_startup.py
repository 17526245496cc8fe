"""How long `lrps plan` takes to answer, against an empty Python. The contract: under 0.3 s.

    python benchmarks/cli_startup.py [RUNS]

Both run in turn on the same machine; medians are compared. Exit code 1 where even the fastest `lrps plan` is over
the limit: a machine that others use too is slow at times, and never too fast.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_SECONDS = 0.3

PLAN = """\
campaign: startup
save: runs/startup
lr: {max: 3.0e-4, min: 3.0e-5, warmup_iters: 500}
decay: {shape: cosine, alpha: 0.6}
sequence_length: 2048
global_batch_size: 1024
versions:
  - {name: v1, iters: 10000}
  - {name: v2, iters: 10000}
  - {name: v3, iters: 10000}
  - {name: v4, iters: 10000}
megatron: {num-layers: 24, hidden-size: 2048, num-attention-heads: 16}
"""


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(runs: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.yaml"
        plan.write_text(PLAN)
        # The installed script's own lines, so that the benchmark needs no PATH.
        lrps = [sys.executable, "-c", "from megatron_lrps.cli.app import main; main()", "plan", str(plan)]
        empty = [sys.executable, "-c", "pass"]
        seconds(lrps)  # the first run compiles and fills the page cache
        pairs = [(seconds(lrps), seconds(empty)) for _ in range(runs)]
    ours, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    fastest = min(ours for ours, _ in pairs)
    print(f"lrps plan      {1000 * ours:6.0f} ms  (median of {runs}; fastest {1000 * fastest:.0f} ms)")
    print(f"python -c pass {1000 * bare:6.0f} ms")
    print(f"difference     {1000 * (ours - bare):6.0f} ms, ratio {ours / bare:.1f}")
    print(f"limit          {1000 * LIMIT_SECONDS:6.0f} ms: {'met' if fastest <= LIMIT_SECONDS else 'missed'}")
    return int(fastest > LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
