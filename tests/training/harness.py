"""Start real Megatron ranks on this machine and read what they trained."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from megatron_lrps.plan.cpu_flags import CPU_ENV, CPU_FLAGS
from tests.training.ranks import started_ranks

GPT = (
    "from megatron_lrps.training import cpu; cpu.install(); from megatron_lrps.training.megatron import gpt; gpt.main()"
)
"""The barest entry: the CPU backend and the GPT script, without the plugin's hooks."""

TINY = (
    "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 32 --max-position-embeddings 32"
    " --micro-batch-size 2 --global-batch-size 4 --bf16 --use-distributed-optimizer"
    " --lr 1e-3 --min-lr 1e-4 --lr-decay-style constant --eval-interval 1000 --eval-iters 1"
    " --tokenizer-type NullTokenizer --vocab-size 127 --log-interval 1 --ckpt-format torch_dist"
    " --attention-dropout 0 --hidden-dropout 0"
)
"""A GPT of 110,336 parameters; a later flag of the same name wins."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one run left."""

    losses: dict[int, float]
    """Iteration -> training loss as TensorBoard has it (float32); the log prints seven digits, and of a
    resumed run's second iteration a mean."""
    validation: list[float]
    """The losses of the evaluations, in order."""
    logs: list[str]
    """Standard output and error of each rank."""
    seconds: float


def train(
    folder: Path,
    flags: str,
    *,
    ranks: int = 1,
    world_size: int | None = None,
    base: str = TINY,
    code: str = GPT,
    env: Mapping[str, str] | None = None,
    timeout: float = 500,
) -> Trained:
    """Train with one process per rank until all have ended.

    Args:
        folder: Logs and TensorBoard's events go here, the latter into a folder of its own.
        flags: Megatron flags, in addition to ``base`` and the CPU backend's.
        ranks: How many processes to start.
        world_size: If not ``ranks``: for a fake process group.
        base: Megatron flags that come first.
        code: What each process runs.
        env: Environment variables to add.
        timeout: Seconds after which all ranks are killed.

    Raises:
        AssertionError: A rank failed, or the time was over; with the end of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cpu = " ".join(f"--{name}" if value is True else f"--{name} {value}" for name, value in CPU_FLAGS.items())
    arguments = f"{cpu} {base} {flags} --tensorboard-dir {folder / 'events'}".split()
    started = time.monotonic()
    logs = [folder / f"rank{rank}.log" for rank in range(ranks)]
    with started_ranks(code, arguments, logs, world_size=world_size, env={**CPU_ENV, **(env or {})}) as processes:
        wait(processes, logs, started + timeout)
    scalars = read_scalars(folder / "events")
    return Trained(
        losses=dict(scalars.get("lm loss", [])),
        validation=[value for _, value in scalars.get("lm loss validation", [])],
        logs=[path.read_text() for path in logs],
        seconds=time.monotonic() - started,
    )


def wait(processes: list[ForkServerProcess], logs: list[Path], deadline: float) -> None:
    """Wait for all ranks; fail as soon as one has failed, as the others would wait for it."""
    while any(process.exitcode is None for process in processes):
        failed = [rank for rank, process in enumerate(processes) if process.exitcode]
        if failed or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for process, path in zip(processes, logs, strict=True):
        if code := process.exitcode:
            raise AssertionError(f"{path.name} ended with code {code}:\n{path.read_text()[-4000:]}")
    for process, path in zip(processes, logs, strict=True):
        assert process.exitcode == 0, f"{path.name} did not end in time:\n{path.read_text()[-4000:]}"


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read TensorBoard's scalars: tag -> (step, value) in the order they were written."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    scalars: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    scalars.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    return scalars


def write_tokens(prefix: Path, documents: list[list[int]]) -> None:
    """Write documents of tokens as Megatron's ``prefix.bin`` and ``prefix.idx`` (int32), in this process."""
    import numpy as np

    prefix.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.array([len(tokens) for tokens in documents], dtype=np.int32)
    np.concatenate([np.array(tokens, dtype=np.int32) for tokens in documents]).tofile(f"{prefix}.bin")
    starts = np.concatenate(([0], np.cumsum(lengths[:-1], dtype=np.int64) * 4)).astype(np.int64)
    with Path(f"{prefix}.idx").open("wb") as index:
        index.write(b"MMIDIDX\x00\x00")
        np.array([1], dtype="<u8").tofile(index)
        np.array([4], dtype="u1").tofile(index)  # the code of int32
        np.array([len(documents), len(documents) + 1], dtype="<u8").tofile(index)
        lengths.tofile(index)
        starts.tofile(index)
        np.arange(len(documents) + 1, dtype=np.int64).tofile(index)
