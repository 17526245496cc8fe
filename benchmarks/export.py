"""What do an export and an import cost? Memory against the largest tensor, and the export's time against a plain copy.

    python benchmarks/export.py [FOLDER] [LAYERS]

The benchmark makes a checkpoint with the shape of Llama 3 8B (32 layers, 4096 wide, 128,256 tokens, bf16: 16 GB) in
FOLDER, which needs three times that, and removes it at the end. The contract has two parts. The peak memory of the
export, and of the import of what was exported, is under 1.2 x the largest tensor + 1 GiB, whatever the model's size.
The export runs at 60 % or more of the rate at which the same disk copies a file. Both are timed in turn, with the page
cache dropped before each, and the median of the rounds counts. The exit code is 1 if a part is missed.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.huggingface_config import config_of
from megatron_lrps.convert.mapping import elements, megatron_shapes
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.convert.row_blocks import BLOCK_BYTES
from megatron_lrps.convert.torch_dist_write import Block, blocks_of, empty_states, write_checkpoint

RATE_LIMIT = 0.6
ROUNDS = 3
START = """
import re, sys, time
from pathlib import Path
def high_water():  # getrusage's knows of the process that started this one too
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""
EXPORT = f"""{START}
from megatron_lrps.convert.huggingface_export import plan_export, write_export
from megatron_lrps.convert.torch_dist import open_checkpoint
imported = high_water()
began = time.monotonic()
planned = plan_export(open_checkpoint(Path(sys.argv[1])), vocab=128256)
done = write_export(planned, Path(sys.argv[2]), around=lambda hidden: None)
print(done.bytes, time.monotonic() - began, imported, high_water())
"""
IMPORT = f"""{START}
from megatron_lrps.convert.huggingface_import import plan_import, write_import
began = time.monotonic()
done = write_import(plan_import(Path(sys.argv[1])), Path(sys.argv[2]))
print(done.bytes, time.monotonic() - began, high_water())
"""


def llama(layers: int, *, vocab: int) -> Model:
    """The shape of Llama 3 8B, but for the number of layers and tokens."""
    return Model(
        family="llama",
        layers=layers,
        hidden=4096,
        ffn=14336,
        heads=32,
        groups=8,
        head_dim=128,
        vocab=vocab,
        positions=8192,
        epsilon=1e-5,
        tied=False,
        rope_base=500000.0,
    )


def make(folder: Path, model: Model) -> int:
    """Write the checkpoint, bf16 noise; returns the bytes of its largest tensor."""
    shapes = megatron_shapes(model, padded=model.vocab)
    blocks: list[Block] = []
    for key, shape in shapes.items():
        stacked = key.startswith("decoder.layers")
        for layer in range(model.layers) if stacked else (0,):
            blocks += blocks_of(key, shape, torch.bfloat16, (layer,) if stacked else ())
    noise = torch.randn(2**22).to(torch.bfloat16)

    def read(block: Block) -> Tensor:
        count = elements(block.sizes)
        return noise.repeat(-(-count // len(noise)))[:count]

    folder.mkdir()
    write_checkpoint(folder, args_of(model), blocks, read, empty_states(blocks))
    return max(2 * elements(block.shape[len(block.index) :]) for block in blocks)


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
    model = llama(layers, vocab=128256)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source, target, copied = (Path(name) / part for part in ("checkpoint", "export", "copy"))
        largest = make(source, model)
        data = max(source.iterdir(), key=lambda file: file.stat().st_size)
        rates, peaks = [], []
        for number in range(ROUNDS):
            drop_cache(source)
            plain = copy(data, copied)
            copied.unlink()
            drop_cache(source)
            command = [sys.executable, "-c", EXPORT, str(source), str(target)]
            size, seconds, imported, peak = map(float, subprocess.check_output(command, text=True).split())
            if number < ROUNDS - 1:
                shutil.rmtree(target)
            rates.append(size / seconds / plain)
            peaks.append(peak)
            print(
                f"{size / 1e9:.2f} GB in {seconds:.1f} s: {size / seconds / 1e6:,.0f} MB/s, a copy {plain / 1e6:,.0f}; "
                f"peak {peak / 2**30:.2f} GiB, {imported / 2**30:.2f} of it before the first byte",
                flush=True,
            )
        shutil.rmtree(source)
        kind = config_of(model, dtype="bfloat16", bos=None, eos=None)
        (target / "config.json").write_text(json.dumps(kind), encoding="utf-8")
        command = [sys.executable, "-c", IMPORT, str(target), str(source)]
        drop_cache(target)
        size, seconds, import_peak = map(float, subprocess.check_output(command, text=True).split())
    allowed, rate = 1.2 * largest + 2**30, statistics.median(rates)
    facts = {
        "layers": layers,
        "largest_tensor_bytes": largest,
        "allowed_bytes": allowed,
        "export_peak_bytes": max(peaks),
        "import_peak_bytes": import_peak,
        "import_bytes_per_s": round(size / seconds),
        "rate": round(rate, 3),
        "rates": [round(each, 3) for each in sorted(rates)],
        "limit": RATE_LIMIT,
    }
    print(json.dumps(facts))
    return int(max(*peaks, import_peak) > allowed or rate < RATE_LIMIT)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "."), int(sys.argv[2]) if len(sys.argv) > 2 else 32))
