"""What a window's indices cost to build, by the number of its samples; and what earlier windows cost at a start.

    python benchmarks/timeline.py [--samples 1e6 1e7 1e8] [--windows 1 16]

Megatron's own builder makes a window's document, sample and shuffle index on rank 0, and maps them from its cache
on every other rank and at every later start. The data are documents of 1,024 tokens; the .bin is a sparse file of the
right size, since no token is read. Each build is a process of its own: seconds and peak memory (RSS) are its whole,
less what it had before. What stands for 10^9 samples, where that is not asked for, is extrapolated from the largest
build. A mixed order (PTFS) is measured at 10^9 samples as it is: it has no table.

Then a path starts in the last of so many windows: hashing what it still reads (rank 0), and building its timeline.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SEQUENCE, BATCH, DOCUMENT = 1024, 64, 1024
CHUNK = 10**7
MIB = 2**20


def write_sparse(prefix: Path, documents: int) -> None:
    """``prefix.idx`` of documents of ``DOCUMENT`` uint16 tokens, and a ``.bin`` of the right size without blocks."""
    with Path(f"{prefix}.idx").open("wb") as index:
        index.write(b"MMIDIDX\x00\x00")
        np.array([1], dtype="<u8").tofile(index)
        np.array([8], dtype="u1").tofile(index)  # the code of uint16
        np.array([documents, documents + 1], dtype="<u8").tofile(index)
        for kind, step, count in (
            (np.int32, None, documents),
            (np.int64, DOCUMENT * 2, documents),
            (np.int64, 1, documents + 1),
        ):
            for first in range(0, count, CHUNK):
                number = min(CHUNK, count - first)
                values = np.full(number, DOCUMENT, kind) if step is None else np.arange(first, first + number) * step
                values.astype(kind).tofile(index)
    with Path(f"{prefix}.bin").open("wb") as data:
        data.truncate(documents * DOCUMENT * 2)


def write_plan(folder: Path, windows: int, samples: int) -> Path:
    """So many windows of ``samples`` samples, each of an index of its own that is read not quite once."""
    names = [f"v{number}" for number in range(1, windows + 1)]
    for name in names:
        write_sparse(folder / name, samples + samples // 50)
    versions = "".join(
        f"  - {{name: {name}, samples: {samples // BATCH * BATCH}, train: [[1.0, {name}]]}}\n" for name in names
    )
    plan = folder / "plan.yaml"
    plan.write_text(
        f"campaign: timeline\nsave: run\nsequence_length: {SEQUENCE}\nglobal_batch_size: {BATCH}\nversions:\n{versions}"
    )
    return plan


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def start(plan_file: Path, path: str, position: int) -> dict[str, Any]:
    """Start a path in this process as a run does at an iteration: hash its data, build its timeline."""
    from argparse import Namespace
    from types import SimpleNamespace

    from megatron.core.datasets.gpt_dataset import GPTDatasetConfig

    from megatron_lrps.campaign.campaign import Campaign
    from megatron_lrps.training.arguments import Planned
    from megatron_lrps.training.identity import identity_of
    from megatron_lrps.training.megatron.datasets import build_datasets

    campaign = Campaign.open(plan_file)
    tree = campaign.tree
    planned = Planned(campaign=campaign, path=campaign.path(path))
    known = plan_file.with_name("recorded.json")
    before, begun = peak_bytes(), time.perf_counter()
    identity = identity_of(planned, position, json.loads(known.read_text()) if known.exists() else {})
    hashed = time.perf_counter()
    known.write_text(json.dumps(identity.to_json()))
    tokenizer = SimpleNamespace(eod=0, pad=-1, vocab_size=None, special_tokens_dict={}, unique_identifiers={})
    config = GPTDatasetConfig(
        random_seed=1234,
        sequence_length=SEQUENCE,
        tokenizer=tokenizer,
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        blend=(["replaced"], None),
        split="1,0,0",
        path_to_cache=str(plan_file.with_name("cache")),
        mid_level_dataset_surplus=0.005,
    )
    args = Namespace(consumed_train_samples=position * BATCH, seed=1234)
    build_begun = time.perf_counter()
    timeline, _, _ = build_datasets(tree, tree.path(path), args, config, lambda: True)
    built = time.perf_counter()
    assert timeline is not None
    return {"hash_s": hashed - begun, "build_s": built - build_begun, "peak_bytes": peak_bytes() - before}


def measured(plan_file: Path, path: str, position: int) -> dict[str, Any]:
    """``start`` in a process of its own."""
    command = [sys.executable, __file__, "--start", str(plan_file), path, str(position)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def cached_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "cache").iterdir())


def windows_of(size: int) -> None:
    """Build, and load again, a window of ``size`` samples."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = write_plan(folder, 1, size)
        first, again = measured(plan, "main", 0), measured(plan, "main", 0)
        on_disk, seconds, memory = cached_bytes(folder), first["build_s"], first["peak_bytes"]
        print(
            f"{size:>13,} samples: built in {seconds:.2f} s ({1e6 * seconds / size:.3f} us a sample), peak memory "
            f"+{memory / MIB:,.0f} MiB ({memory / size:.1f} bytes a sample), {on_disk / size:.1f} on disk; "
            f".idx hashed in {first['hash_s']:.2f} s; from the cache {again['build_s']:.2f} s, "
            f"+{again['peak_bytes'] / MIB:,.0f} MiB",
            flush=True,
        )
        if size < 10**9:
            times = 10**9 / size
            print(
                f"{'':>13}  extrapolated to 10^9: {seconds * times:,.0f} s, "
                f"{memory * times / 2**30:,.0f} GiB of memory, {on_disk * times / 2**30:,.0f} GiB on disk",
                flush=True,
            )


def mixed_order() -> None:
    from megatron_lrps.training.timeline import Mixed

    before, begun, looked_up = peak_bytes(), time.perf_counter(), 20_000
    order = Mixed(10**9, seed=1)
    for position in range(0, 10**9, 10**9 // looked_up):
        order.sample(position)
    spent = time.perf_counter() - begun
    print(
        f"Mixed order of 10^9 samples: +{(peak_bytes() - before) / MIB:.1f} MiB, "
        f"{1e6 * spent / looked_up:.1f} us a look-up",
        flush=True,
    )


def starts(windows: list[int], size: int) -> None:
    """A start in the last window, its index built before, after so many earlier ones."""
    for number in windows:
        with tempfile.TemporaryDirectory() as name:
            plan = write_plan(Path(name), number + 1, size)
            position = number * (size // BATCH) + 1
            main = measured(plan, "main", 0)  # all windows are hashed and built once
            last = measured(plan, "main", position)
            print(
                f"start in window {number + 1} after {number} earlier of {size:,} samples: hashed in "
                f"{last['hash_s']:.3f} s, timeline built from the cache in {last['build_s']:.3f} s, "
                f"+{last['peak_bytes'] / MIB:,.0f} MiB (at iteration 0: {main['hash_s']:.3f} s and, building all, "
                f"{main['build_s']:.3f} s, +{main['peak_bytes'] / MIB:,.0f} MiB)",
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=float, nargs="*", default=[1e6, 1e7, 1e8], help="of a window, each built")
    parser.add_argument("--windows", type=int, nargs="*", default=[1, 16], help="earlier windows at a start")
    parser.add_argument("--start", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.start:
        plan, path, position = args.start
        print(json.dumps(start(Path(plan), path, int(position))))
        return 0
    for size in args.samples:
        windows_of(int(size))
    mixed_order()
    starts(args.windows, 10**6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
