"""What does a merge of ten checkpoints cost? Memory against the largest tensor, and its time against plain reading.

    python benchmarks/merge.py [FOLDER] [LAYERS]

The benchmark makes ten checkpoints with the shape of Llama 3 8B's layers (4096 wide, 32,000 tokens, bf16: 14 GB with
two layers) in FOLDER, and removes them at the end. The contract: the peak memory of a merge is under 1.2 x the largest
tensor x 3 + 1 GiB, and it reads at 60 % or more of the rate at which the same disk is read. That rate is what one
process gets that reads the same files one after the other, 64 MiB at a time, and does nothing with them: through the
page cache, or past it (O_DIRECT), whichever is faster in that round. The merge's
time is from opening the checkpoints to the merged one being whole, written, synced and hashed. Both are timed in turn,
the page cache is dropped before each, and the median of the rounds' ratios counts. The exit code is 1 if a part is
missed. Beside both rates stands the processor's time: where others use the machine, that is what decides.
"""

import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from export import START, drop_cache, llama, make

from megatron_lrps.convert.row_blocks import BLOCK_BYTES

COUNT = 10
RATE_LIMIT = 0.6
ROUNDS = 3
MERGE = f"""{START}
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.convert.weighted_mean import plan_mean, write_mean
import os
began, imported = time.monotonic(), sum(os.times()[:2])
parts = [Checkpoint(Path(sys.argv[1]), each) for each in range(1, {COUNT} + 1)]
write_mean(plan_mean(parts, [1 / {COUNT}] * {COUNT}), Checkpoint(Path(sys.argv[2]), {COUNT}))
print(time.monotonic() - began, high_water(), sum(os.times()[:2]) - imported)
"""


def read(files: list[Path]) -> float:
    """Bytes a second of reading the files, a block at a time."""
    buffer, size = bytearray(BLOCK_BYTES), 0
    began = time.monotonic()
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while got := stream.readinto(buffer):
                size += got
    return size / (time.monotonic() - began)


def read_past_cache(files: list[Path]) -> float:
    """Bytes a second of the same with O_DIRECT; 0 on a file system that has none."""
    buffer, size = mmap.mmap(-1, BLOCK_BYTES), 0
    began = time.monotonic()
    for file in files:
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            return 0.0
        try:
            while got := os.readv(descriptor, [buffer]):
                size += got
                if got % mmap.PAGESIZE:  # the end of the file
                    break
        finally:
            os.close(descriptor)
    return size / (time.monotonic() - began)


def main(folder: Path, layers: int) -> int:
    """Run all rounds, print the facts as JSON, and return the exit code."""
    model = llama(layers, vocab=32000)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source, target = Path(name) / "main", Path(name) / "merged"
        source.mkdir()
        folders = [source / f"iter_{each:07d}" for each in range(1, COUNT + 1)]
        largest = max(make(each, model) for each in folders)
        files = [file for each in folders for file in sorted(each.iterdir())]
        size = sum(file.stat().st_size for file in files)
        rates, peaks = [], []
        for _ in range(ROUNDS):
            for each in folders:
                drop_cache(each)
            found = []
            for way in (read, read_past_cache):
                before = time.process_time()
                found.append((way(files), time.process_time() - before))
                for each in folders:
                    drop_cache(each)
            plain, plain_cpu = max(found)
            command = [sys.executable, "-c", MERGE, str(source), str(target)]
            seconds, peak, cpu = map(float, subprocess.check_output(command, text=True).split())
            shutil.rmtree(target)
            rates.append(size / seconds / plain)
            peaks.append(peak)
            print(
                f"{size / 1e9:.2f} GB in {seconds:.1f} s: {size / seconds / 1e6:,.0f} MB/s ({cpu:.1f} s of a "
                f"processor), plain reading {found[0][0] / 1e6:,.0f}, past the cache {found[1][0] / 1e6:,.0f} "
                f"({plain_cpu:.1f} s for the faster); peak {peak / 2**30:.2f} GiB",
                flush=True,
            )
    allowed, rate = 1.2 * largest * 3 + 2**30, statistics.median(rates)
    facts = {
        "checkpoints": COUNT,
        "layers": layers,
        "bytes": size,
        "largest_tensor_bytes": largest,
        "allowed_bytes": allowed,
        "peak_bytes": max(peaks),
        "rate": round(rate, 3),
        "rates": [round(each, 3) for each in sorted(rates)],
        "limit": RATE_LIMIT,
    }
    print(json.dumps(facts))
    return int(max(peaks) > allowed or rate < RATE_LIMIT)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "."), int(sys.argv[2]) if len(sys.argv) > 2 else 2))
