"""Tiny campaigns on disk, and real ranks that train their paths."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.monitor.scalars import read_scalars
from tests.training.harness import write_tokens
from tests.training.ranks import started_ranks

ENTRY = "from megatron_lrps.pretrain import main; main()"

PLAN = """\
campaign: tiny
save: run
max_epochs: 100000
lr: {{max: 3.0e-3, min: 3.0e-4, warmup_iters: 2}}
decay: {{shape: cosine, alpha: 0.5}}
sequence_length: 32
global_batch_size: 4
versions:
  - {{name: v1, iters: 8, train: [[1.0, data/v1]], valid: {{a: data/valid}}}}
  - {{name: v2, iters: 6, train: [[1.0, data/v2]], valid: {{a: data/valid}}}}
tokenizer: {{type: "null", model: data/vocabulary.txt, vocab_size: 127}}
megatron: {{num-layers: 2, hidden-size: 64, num-attention-heads: 4, micro-batch-size: 2,
  eval-interval: 100, save-interval: 100, attention-dropout: 0.0, hidden-dropout: 0.1,
  use-distributed-optimizer: true, bf16: true{extra}}}
launch: {{device: cpu, local: {{processes: {processes}}}}}
"""
"""Main saves at its forks 4 and 11; v1 trains (4, 8], v2 (11, 14]. Four samples an iteration. Tests that need a long
path raise `iters`, so the data may be read as often as that takes."""


def write_campaign(folder: Path, *, extra: str = "", processes: int = 1) -> Path:
    """Make data, a tokenizer and a plan; return the plan's file.

    Args:
        folder: An empty one.
        extra: More Megatron flags, e.g. ``, tensor-model-parallel-size: 2``.
        processes: Ranks that train a path.
    """
    numbers = random.Random(7)
    for name, documents in (("v1", 60), ("v2", 60), ("valid", 6)):
        write_tokens(
            folder / "data" / name,
            [[numbers.randrange(120) for _ in range(numbers.randrange(20, 90))] for _ in range(documents)],
        )
    # The ids are the data's own; a campaign is tied to its tokenizer file's content all the same.
    (folder / "data" / "vocabulary.txt").write_text("a\nb\nc\n")
    plan = folder / "plan.yaml"
    plan.write_text(PLAN.format(extra=extra, processes=processes))
    return plan


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What the ranks of one run left."""

    codes: list[int | None]
    """None: it had not ended in time."""
    log: str
    """Output of all ranks, rank 0 first."""


def run_ranks(
    arguments: list[str],
    *,
    cwd: Path,
    ranks: int = 1,
    code: str = ENTRY,
    env: Mapping[str, str] | None = None,
    timeout: float = 500,
) -> Ended:
    """Run ``python -c code arguments`` once per rank until all have ended; a failing rank ends the others.

    ``arguments`` and ``code`` decide everything: no flag is added.
    """
    logs = [cwd / f"rank{rank}.log" for rank in range(ranks)]
    with started_ranks(code, arguments, logs, env=env, cwd=cwd) as processes:
        for process in processes:
            process.join(timeout)
        codes = [process.exitcode for process in processes]
    return Ended(codes=codes, log="".join(path.read_text() for path in logs))


def train_path(plan: Path, path: str, *flags: str, ranks: int = 1, code: str = ENTRY, timeout: float = 500) -> Ended:
    """Train one path of a plan with real ranks."""
    arguments = ["--lrps-plan", str(plan), "--lrps-path", path, "--lrps-cpu", *flags]
    return run_ranks(arguments, cwd=plan.parent, ranks=ranks, code=code, timeout=timeout)


def losses(plan: Path, path: str) -> dict[int, float]:
    """Iteration -> training loss of a path, float32 as TensorBoard has it."""
    return dict(read_scalars(plan.parent / "run" / "tensorboard" / path, "lm loss"))


def rates(plan: Path, path: str) -> dict[int, float]:
    """Iteration -> learning rate that Megatron logged there, the next iteration's."""
    return dict(read_scalars(plan.parent / "run" / "tensorboard" / path, "learning-rate"))
