"""A tiny campaign for one GPU, in FP8 by Transformer Engine; what makes two runs of it equal."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import Result
from tests.training.campaigns import write_campaign

DETERMINISTIC = {
    "NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "NCCL_ALGO": "Ring",
    "CUDA_DEVICE_MAX_CONNECTIONS": "1",
}
"""Megatron's --deterministic-mode asks for these."""
RECIPES = {
    "delayed": ", fp8-format: hybrid, fp8-recipe: delayed, fp8-amax-history-len: 16, fp8-amax-compute-algo: max",
    "tensorwise": ", fp8-format: hybrid, fp8-recipe: tensorwise",
    "blockwise": ", fp8-format: hybrid, fp8-recipe: blockwise",
}
"""Recipe -> Megatron flags, for ``write_campaign``."""


def why_not(recipe: str) -> str:
    """Why a recipe cannot run here; empty where it can."""
    import torch

    if importlib.util.find_spec("transformer_engine") is None:
        return "needs Transformer Engine"
    major, minor = torch.cuda.get_device_capability()
    needed = (9, 0) if recipe == "blockwise" else (8, 9)
    return "" if (major, minor) >= needed else f"{recipe} needs compute capability {needed}, this is {(major, minor)}"


def write_gpu_campaign(folder: Path, extra: str = "") -> Path:
    """The plan of a campaign of two layers, 256 wide, sequences of 128: FP8 wants multiples of 128."""
    plan = write_campaign(folder, extra=f", deterministic-mode: true{extra}")
    text = plan.read_text()
    for before, after in (
        ("device: cpu", "device: gpu"),
        ("sequence_length: 32", "sequence_length: 128"),
        ("hidden-size: 64", "hidden-size: 256"),
        ("iters: 8", "iters: 16"),
        ("hidden-dropout: 0.1", "hidden-dropout: 0.0, attention-backend: unfused"),
    ):
        assert before in text
        text = text.replace(before, after)
    plan.write_text(text)
    return plan


def lrps(plan: Path, *args: str) -> Result:
    """``lrps ARGS`` on the first GPU."""
    done = subprocess.run(
        [sys.executable, "-m", "megatron_lrps.cli", args[0], str(plan), *args[1:]],
        env={**os.environ, **DETERMINISTIC, "CUDA_VISIBLE_DEVICES": "0"},
        cwd=plan.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def train(plan: Path, path: str, *flags: str) -> Result:
    """One path by one rank."""
    own = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29577"}
    done = subprocess.run(
        [sys.executable, "-m", "megatron_lrps.pretrain", "--lrps-plan", str(plan), "--lrps-path", path, *flags],
        env={**os.environ, **DETERMINISTIC, **own, "CUDA_VISIBLE_DEVICES": "0"},
        cwd=plan.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)
