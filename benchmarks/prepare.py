"""`lrps prepare` against Megatron-LM's tools/preprocess_data.py, and against sentencepiece's own rate.

    python benchmarks/prepare.py --megatron-lm FOLDER [--megabytes 1000] [--pairs 3]

FOLDER is a checkout of Megatron-LM with tools/preprocess_data.py (the wheel has none). Whole processes with
2 workers each, run in turn, from JSON Lines to .bin and .idx; both outputs are compared byte by byte. Megatron's tool
runs on a part of the text. Its start-up is taken off by a second run on a small part, and `lrps prepare` keeps its own:
the printed ratio is a lower bound. Contracts: at least 20 for byte-level BPE; for sentencepiece at least 0.9 of what
the library encodes in as many processes, which do nothing else. Exit code 1 where one is missed.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
from _text import write_jsonl

from megatron_lrps.data.prepare.train_tokenizer import train_tokenizer
from megatron_lrps.plan.keys.tokenizers import Tokenizer, TokenizerTraining

WORKERS = 2
RATIO, SHARE = 20.0, 0.9
PART, SMALL = 25_000_000, 1_000_000
"""Bytes of text for Megatron's tool and for sentencepiece, and for the runs that start-up is measured by."""
VOCABULARY = 32_000


class Run(NamedTuple):
    """One process: seconds, and the peak of its whole tree's memory in MiB (PSS: shared pages count once)."""

    seconds: float
    memory: float


def run(command: list[str], log: Path) -> Run:
    """Run to the end; fails with its log where it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    peak = 0.0
    start = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.2):
                peak = max(peak, tree_memory(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        process.wait()
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
    if process.returncode:
        sys.exit(f"{command} ended with code {process.returncode}:\n{log.read_text()[-3000:]}")
    return Run(seconds, peak)


def tree_memory(pid: int) -> float:
    """MiB of a process and all its children."""
    total = 0
    try:
        for process in [parent := psutil.Process(pid), *parent.children(recursive=True)]:
            total += process.memory_full_info().pss
    except (psutil.Error, OSError):
        pass  # one has just ended
    return total / 2**20


def part_of(text: Path, size: int) -> Path:
    """The first lines of ``text``, about ``size`` bytes."""
    part = text.with_name(f"{size}.jsonl")
    with text.open("rb") as source, part.open("wb") as target:
        while target.tell() < size and (line := source.readline()):
            target.write(line)
    return part


def megatron(checkout: Path, text: Path, kind: str, model: Path) -> Run:
    """Megatron's tool, to ``text``'s name with _text_document behind it."""
    command = [sys.executable, str(checkout / "tools/preprocess_data.py"), "--input", str(text), "--append-eod"]
    command += ["--output-prefix", str(text.with_suffix("")), "--workers", str(WORKERS), "--log-interval", "1000000"]
    return run([*command, "--tokenizer-type", kind, "--tokenizer-model", str(model)], text.with_suffix(".log"))


def prepare(text: Path, kind: str, model: Path) -> tuple[Run, Path]:
    """`lrps prepare` into a folder of its own; the run and the prefix."""
    folder = Path(tempfile.mkdtemp(dir=text.parent))
    plan = {
        "campaign": "benchmark",
        "save": "run",
        "sequence_length": 1024,
        "global_batch_size": 8,
        "versions": [{"name": "v1", "iters": 10, "train": [[1.0, "text"]], "sources": {"text": str(text)}}],
        "tokenizer": {"type": kind, "model": str(model)},
    }
    (folder / "plan.yaml").write_text(json.dumps(plan))
    command = [sys.executable, "-m", "megatron_lrps.cli", "prepare", str(folder / "plan.yaml"), "--workers"]
    return run([*command, str(WORKERS)], folder / "log"), folder / "text"


def same(one: Path, other: Path) -> None:
    """End the benchmark where two outputs differ."""
    for end in (".bin", ".idx"):
        if Path(f"{one}{end}").read_bytes() != Path(f"{other}{end}").read_bytes():
            sys.exit(f"{one}{end} and {other}{end} differ")


def byte_level(text: Path, checkout: Path, model: Path, pairs: int) -> bool:
    """Print both rates and their ratio; whether the contract holds."""
    part, small = part_of(text, PART), part_of(text, SMALL)
    run_on_part, prefix = prepare(part, "huggingface", model)
    rates: dict[str, list[float]] = {"megatron": [], "whole": [], "prepare": []}
    peaks = []
    for _ in range(pairs):
        start_up, whole = (megatron(checkout, file, "HuggingFaceTokenizer", model) for file in (small, part))
        bytes_between = part.stat().st_size - small.stat().st_size
        rates["megatron"].append(bytes_between / (whole.seconds - start_up.seconds) / 1e6)
        rates["whole"].append(part.stat().st_size / whole.seconds / 1e6)
        prepared, large = prepare(text, "huggingface", model)
        rates["prepare"].append(text.stat().st_size / prepared.seconds / 1e6)
        peaks.append((whole.memory, prepared.memory))
        shutil.rmtree(large.parent)
    same(prefix, part.with_name(f"{part.stem}_text_document"))
    show("Megatron's tool, start-up taken off", rates["megatron"], f"peak {max(peak[0] for peak in peaks):.0f} MiB")
    show("Megatron's tool, whole process", rates["whole"], f"{PART / 1e6:.0f} MB")
    show("lrps prepare, whole process", rates["prepare"], f"peak {max(peak[1] for peak in peaks):.0f} MiB")
    print(f"  on the same {PART / 1e6:.0f} MB lrps prepare takes {run_on_part.seconds:.1f} s; the outputs are equal")
    ratios = [ours / theirs for ours, theirs in zip(rates["prepare"], rates["megatron"], strict=True)]
    return verdict("byte-level BPE, ratio", ratios, RATIO)


def wait_for_all(barrier: threading.Barrier) -> None:
    """What each process of the pool gets: where all wait for each other before the clock starts."""
    global BARRIER
    BARRIER = barrier


def encode_share(model: Path, text: Path, number: int) -> float:
    """Seconds that one of the processes takes to encode every ``WORKERS``-th document, and nothing else."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(model))
    with text.open("rb") as lines:
        texts = [json.loads(line)["text"] for place, line in enumerate(lines) if place % WORKERS == number]
    BARRIER.wait(timeout=300)
    start = time.perf_counter()
    for first in range(0, len(texts), 256):
        processor.encode(texts[first : first + 256], num_threads=1)
    return time.perf_counter() - start


def library_rate(model: Path, text: Path) -> float:
    """MB/s of JSON Lines that sentencepiece encodes in ``WORKERS`` processes, without reading or writing."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, spawn, wait_for_all, (spawn.Barrier(WORKERS),)) as pool:
        seconds = list(pool.map(encode_share, [model] * WORKERS, [text] * WORKERS, range(WORKERS)))
    return text.stat().st_size / max(seconds) / 1e6


def sentencepiece(text: Path, checkout: Path, model: Path, pairs: int) -> bool:
    """Print the library's rate and that of `lrps prepare`; whether the contract holds."""
    part = part_of(text, 3 * PART)
    rates: dict[str, list[float]] = {"library": [], "prepare": []}
    for _ in range(pairs):
        rates["library"].append(library_rate(model, part))
        prepared, prefix = prepare(part, "sentencepiece", model)
        rates["prepare"].append(part.stat().st_size / prepared.seconds / 1e6)
    megatron(checkout, part, "SentencePieceTokenizer", model)
    same(prefix, part.with_name(f"{part.stem}_text_document"))
    show("sentencepiece alone, encoding only", rates["library"], f"{WORKERS} processes")
    show("lrps prepare, whole process", rates["prepare"], f"{3 * PART / 1e6:.0f} MB")
    shares = [ours / theirs for ours, theirs in zip(rates["prepare"], rates["library"], strict=True)]
    return verdict("sentencepiece, share", shares, SHARE)


def show(label: str, values: list[float], note: str) -> None:
    print(f"{label:<38} {statistics.median(values):7.1f} MB/s   {min(values):.1f} to {max(values):.1f}   {note}")


def verdict(label: str, values: list[float], limit: float) -> bool:
    met = statistics.median(values) >= limit
    spread = f"{min(values):.2f} to {max(values):.2f}"
    print(f"{label:<38} {statistics.median(values):7.2f}        {spread}   limit {limit}: {'met' if met else 'missed'}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megatron-lm", type=Path, required=True, help="a checkout with tools/preprocess_data.py")
    parser.add_argument("--megabytes", type=int, default=1000, help="text for lrps prepare with byte-level BPE")
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        text = root / "text.jsonl"
        print(f"{write_jsonl(text, args.megabytes * 10**6) / 1e6:.0f} MB of JSON Lines, {WORKERS} workers")
        with part_of(text, PART).open("rb") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        for kind in ("huggingface", "sentencepiece"):
            training = TokenizerTraining(vocab_size=VOCABULARY, megabytes=PART // 10**6)
            train_tokenizer(Tokenizer(type=kind, model=kind, train=training), texts, root / kind)
        met = [
            byte_level(text, args.megatron_lm, root / "huggingface", args.pairs),
            sentencepiece(text, args.megatron_lm, root / "sentencepiece", args.pairs),
        ]
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
