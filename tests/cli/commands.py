"""The answers and refusals of `lrps` as a process of its own, and the plan of the paper."""

from pathlib import Path
from typing import Any

import yaml

from megatron_lrps.errors import EXIT_REFUSED
from tests.conftest import Lrps
from tests.plan.plans import plan_dict, versions

PAPER: dict[str, Any] = {
    "lr": {"max": 3.0e-4, "min": 3.0e-5, "warmup_iters": 500},
    "decay": {"shape": "cosine", "alpha": 0.6},
    "sequence_length": 2048,
    "global_batch_size": 1024,
    "versions": versions(10_000, 10_000, 10_000, 10_000),
    "megatron": {"num-layers": 24, "hidden-size": 2048, "num-attention-heads": 16, "bf16": True},
}


def write(folder: Path, **keys: Any) -> Path:
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(plan_dict(**keys)))
    return file


def answer(lrps: Lrps, *args: str | Path) -> str:
    code, stdout, stderr = lrps(*args)
    assert (code, stderr) == (0, "")
    return stdout


def refusal(lrps: Lrps, *args: str | Path) -> str:
    code, stdout, stderr = lrps(*args)
    assert (code, stdout) == (EXIT_REFUSED, "")
    assert stderr.startswith("lrps: ")
    assert stderr.count("\n") == 1
    assert " Fix: " in stderr
    return stderr
