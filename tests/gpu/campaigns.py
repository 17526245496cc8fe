"""A tiny campaign for one GPU, in FP8 by Transformer Engine; what makes two runs of it equal."""

import importlib.util
import os
import socket
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
LOCAL = (
    ", transformer-impl: local, no-persist-layer-norm: true, no-masked-softmax-fusion: true, no-rope-fusion: true"
    ", no-bias-gelu-fusion: true, no-bias-dropout-fusion: true"
)
"""Megatron's own layers in bf16, without Transformer Engine or apex; and so without the distributed optimizer."""


def why_not(recipe: str) -> str:
    """Why a recipe cannot run here; empty where it can."""
    import torch

    if importlib.util.find_spec("transformer_engine") is None:
        return "needs Transformer Engine"
    found = torch.cuda.get_device_capability()
    needed = (9, 0) if recipe == "blockwise" else (8, 9)
    if found < needed:
        return f"{recipe} needs compute capability {needed}, this is {found}"
    cuda = tuple(int(part) for part in str(torch.version.cuda).split(".")[:2])
    return f"blockwise needs CUDA 12.9, torch has {cuda}" if recipe == "blockwise" and cuda < (12, 9) else ""


def write_gpu_campaign(folder: Path, extra: str = "") -> Path:
    """The plan of a campaign of two layers, 256 wide, sequences of 128: FP8 wants multiples of 128."""
    # Megatron's output layer asks for apex's extension, which many machines lack.
    fused = importlib.util.find_spec("fused_weight_gradient_mlp_cuda") is not None
    unfused = "" if fused else ", no-gradient-accumulation-fusion: true"
    plan = write_campaign(folder, extra=f", deterministic-mode: true{unfused}{extra}")
    text = plan.read_text()
    for before, after in (
        *([("use-distributed-optimizer: true, ", "")] if LOCAL in extra else []),
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


def first_gpu() -> dict[str, str]:
    """The first GPU of those that this process may use."""
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}


def one_rank() -> dict[str, str]:
    """The environment of a world of one, apart from any other's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        **first_gpu(),
    }


def lrps(plan: Path, *args: str) -> Result:
    """``lrps ARGS`` on the first GPU."""
    done = subprocess.run(
        [sys.executable, "-m", "megatron_lrps.cli", args[0], str(plan), *args[1:]],
        env={**os.environ, **DETERMINISTIC, **first_gpu()},
        cwd=plan.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def train(plan: Path, path: str, *flags: str) -> Result:
    """One path by one rank."""
    done = subprocess.run(
        [sys.executable, "-m", "megatron_lrps.pretrain", "--lrps-plan", str(plan), "--lrps-path", path, *flags],
        env={**os.environ, **DETERMINISTIC, **one_rank()},
        cwd=plan.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)
