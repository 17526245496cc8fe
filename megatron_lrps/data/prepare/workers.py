"""The processes that encode shards: spawned, tied to this one, and stopped with it."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.data.prepare.encode import Encoding, encode_shard
from megatron_lrps.data.prepare.encoders import Encoder, TokenizerSpec, load_encoder
from megatron_lrps.data.prepare.find import TextSource
from megatron_lrps.data.prepare.shards import Shard
from megatron_lrps.errors import LrpsError, StoppedError
from megatron_lrps.parent import tie_to

_POLL_S = 0.2

_encoder: Encoder
_spec: TokenizerSpec
_counts: Any


@dataclass(frozen=True, kw_only=True)
class Task:
    """A shard to encode, and the folder that its files go to."""

    source: TextSource
    shard: Shard
    key: str
    folder: Path


def encode_all(
    tasks: Sequence[Task], spec: TokenizerSpec, workers: int, progress: Callable[[int, int], None]
) -> Iterator[tuple[Task, Encoding]]:
    """Encode shards in several processes; each as it is done.

    Args:
        tasks: In the order in which they are begun.
        spec: The tokenizer.
        workers: How many processes.
        progress: Called now and then with the bytes of text and the tokens so far.

    Raises:
        StoppedError: Ctrl-C; what is done stays.
        LrpsError: What a shard's encoding raised, or that a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    counts = context.Array("q", 2)
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, _start, (os.getpid(), spec, counts))
    running: dict[Future[Encoding], Task] = {}
    done = False
    try:
        running = {pool.submit(_encode, task): task for task in tasks}
        while running:
            ended, _ = wait(running, _POLL_S, FIRST_COMPLETED)
            progress(*counts[:])
            for future in ended:
                yield running.pop(future), future.result()
        done = True
    except BrokenProcessPool:
        raise LrpsError(
            "A process that encodes was killed, by a signal or for want of memory.",
            "run the same command again, with fewer --workers where memory is short; finished shards are kept.",
        ) from None
    except KeyboardInterrupt:
        raise StoppedError("Stopped.", "the same command goes on; finished shards are kept.") from None
    finally:
        if not done:
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.kill()
        pool.shutdown(cancel_futures=True)


def _start(parent: int, spec: TokenizerSpec, counts: Any) -> None:
    """In a new process: what all its shards share."""
    global _encoder, _spec, _counts
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to answer
    tie_to(parent)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _spec, _counts = spec, counts
    _encoder = load_encoder(spec)


def _encode(task: Task) -> Encoding:
    return encode_shard(task.shard, task.source, _encoder, _spec, task.key, task.folder, _count)


def _count(text: int, tokens: int) -> None:
    with _counts.get_lock():
        _counts[0] += text
        _counts[1] += tokens
