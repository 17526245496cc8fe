"""What an export takes: memory against its largest tensor, and time against a plain copy of as many bytes.

    python benchmarks/export.py [FOLDER] [LAYERS]

A checkpoint of 8B shape (Llama 3: 32 layers, 4096 wide, 128,256 tokens, bf16: 16 GB) is made in FOLDER, which needs
twice that, and removed at the end. The contract: peak memory under 1.2 x the largest tensor + 1 GiB, whatever the
model's size; at least 60 % of the rate at which the same disk copies a file, in turn, with the page cache dropped
before each. Exit code 1 where one is missed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from megatron_lrps.convert.architecture import Model, megatron_flags
from megatron_lrps.convert.export import BLOCK_BYTES
from megatron_lrps.convert.mapping import elements, megatron_shapes
from megatron_lrps.convert.torch_dist_write import Part, write_checkpoint

RATE_LIMIT = 0.6
ROUNDS = 2
EXPORT = """
import re, sys, time
from pathlib import Path
from megatron_lrps.convert.export import plan_export, write_export
from megatron_lrps.convert.torch_dist import open_checkpoint
def high_water():  # getrusage's knows of the process that started this one too
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
imported = high_water()
began = time.monotonic()
request = plan_export(open_checkpoint(Path(sys.argv[1])), vocab=128256)
done = write_export(request, Path(sys.argv[2]), around=lambda hidden: None)
print(done.bytes, time.monotonic() - began, imported, high_water())
"""


def make(folder: Path, model: Model) -> int:
    """Write the checkpoint, bf16 noise; returns the bytes of its largest tensor."""
    shapes = megatron_shapes(model, padded=model.vocab)
    parts = [
        Part(key, shape, torch.bfloat16, (layer,) if key.startswith("decoder.layers") else ())
        for key, shape in shapes.items()
        for layer in (range(model.layers) if key.startswith("decoder.layers") else (0,))
    ]
    noise = torch.randn(2**22).to(torch.bfloat16)

    def read(part: Part) -> Tensor:
        shape = part.shape[len(part.index) :]
        count = elements(shape)
        values = noise.repeat(-(-count // len(noise)))[:count]
        return values.view(*(1 for _ in part.index), *shape)

    folder.mkdir()
    write_checkpoint(folder, megatron_flags(model), parts, read)
    return max(2 * elements(part.shape[len(part.index) :]) for part in parts)


def drop_cache(folder: Path) -> None:
    """Write dirty pages, and forget what the kernel holds of the folder's files."""
    os.sync()
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def copy(source: Path, target: Path) -> float:
    """Bytes a second of reading a file and writing it durably, a block at a time."""
    buffer, size = bytearray(BLOCK_BYTES), 0
    began = time.monotonic()
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as write:
        while got := read.readinto(buffer):
            write.write(memoryview(buffer)[:got])
            size += got
        os.fsync(write.fileno())
    return size / (time.monotonic() - began)


def main(folder: Path, layers: int) -> int:
    model = Model(
        family="llama",
        layers=layers,
        hidden=4096,
        ffn=14336,
        heads=32,
        groups=8,
        head_dim=128,
        vocab=128256,
        positions=8192,
        epsilon=1e-5,
        tied=False,
        rope_base=500000.0,
    )
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source, target, copied = (Path(name) / part for part in ("checkpoint", "export", "copy"))
        largest = make(source, model)
        data = max(source.iterdir(), key=lambda file: file.stat().st_size)
        rates, peaks = [], []
        for _ in range(ROUNDS):
            drop_cache(source)
            plain = copy(data, copied)
            copied.unlink()
            drop_cache(source)
            command = [sys.executable, "-c", EXPORT, str(source), str(target)]
            size, seconds, imported, peak = map(float, subprocess.check_output(command, text=True).split())
            subprocess.run(["rm", "-r", str(target)], check=True)
            rates.append(size / seconds / plain)
            peaks.append(peak)
            print(
                f"{size / 1e9:.2f} GB in {seconds:.1f} s: {size / seconds / 1e6:,.0f} MB/s, a copy {plain / 1e6:,.0f}; "
                f"peak {peak / 2**30:.2f} GiB, {imported / 2**30:.2f} of it before the first byte"
            )
    allowed, rate = 1.2 * largest + 2**30, max(rates)
    facts = {
        "largest_tensor_bytes": largest,
        "peak_bytes": max(peaks),
        "allowed_bytes": allowed,
        "rate": round(rate, 3),
        "rates": [round(each, 3) for each in rates],
        "limit": RATE_LIMIT,
    }
    print(json.dumps(facts))
    return int(max(peaks) > allowed or rate < RATE_LIMIT)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "."), int(sys.argv[2]) if len(sys.argv) > 2 else 32))
