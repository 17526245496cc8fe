"""Encodes shards in several processes, which end with this one."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from megatron_lrps.data.prepare.encode import Encoding, encode_shard
from megatron_lrps.data.prepare.encoders import TokenizerSpec, load_encoder
from megatron_lrps.data.prepare.find import TextSource
from megatron_lrps.data.prepare.shards import Shard
from megatron_lrps.errors import LrpsError
from megatron_lrps.processes import tie_to

_POLL_S = 0.2

_load = lru_cache(maxsize=1)(load_encoder)
_spec: TokenizerSpec
_counts: Any


@dataclass(frozen=True, kw_only=True)
class Task:
    """A shard to encode, and the folder for its files."""

    source: TextSource
    shard: Shard
    key: str
    folder: Path


def encode_all(
    tasks: Sequence[Task], spec: TokenizerSpec, workers: int, progress: Callable[[int, int], None]
) -> Iterator[tuple[Task, Encoding]]:
    """Encode shards in several processes, and yield each when it is done.

    Args:
        tasks: The shards, in the order in which they are begun.
        spec: The tokenizer.
        workers: The number of processes.
        progress: Called now and then with the bytes of text and the tokens so far.

    Raises:
        LrpsError: Encoding a shard failed, or a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    # Two numbers for each task, each written by one process: a lock would stay locked if its holder were killed.
    counts = context.RawArray("q", 2 * len(tasks))
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, _start, (os.getpid(), spec, counts))
    running: dict[Future[Encoding], Task] = {}
    done = False
    try:
        # The new processes inherit the mask: only this process answers a Ctrl-C, from their first instruction on.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            running = {pool.submit(_encode, task, number): task for number, task in enumerate(tasks)}
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        while running:
            ended, _ = wait(running, _POLL_S, FIRST_COMPLETED)
            progress(sum(counts[::2]), sum(counts[1::2]))
            for future in ended:
                yield running.pop(future), future.result()
        done = True
    except BrokenProcessPool:
        raise LrpsError(
            "A process that encodes was killed, by a signal or because memory ran out.",
            "Run the same command again, with fewer --workers if memory is short. Finished shards are kept.",
        ) from None
    finally:
        if not done:
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.kill()
        pool.shutdown(cancel_futures=True)


def _start(parent: int, spec: TokenizerSpec, counts: Any) -> None:
    """Set up a new process with what all its shards share."""
    global _spec, _counts
    tie_to(parent)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _spec, _counts = spec, counts


def _encode(task: Task, number: int) -> Encoding:
    def count(text: int, tokens: int) -> None:
        _counts[2 * number] += text
        _counts[2 * number + 1] += tokens

    # Loaded here and not in _start, where a refusal would only end the process.
    return encode_shard(task.shard, task.source, _load(_spec), _spec, task.key, task.folder, count)
