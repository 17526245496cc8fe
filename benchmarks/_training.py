"""A small training on the CPU that benchmarks run with and without the plugin: data, plan, and one rank."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from megatron_lrps.data.index_writer import write_index
from megatron_lrps.errors import EXIT_CONTINUE, EXIT_DONE
from megatron_lrps.plan.cpu_flags import CPU_ENV

SEQUENCE, BATCH, VOCABULARY = 128, 16, 4096
MODEL = {
    "num-layers": 4,
    "hidden-size": 128,
    "ffn-hidden-size": 384,
    "num-attention-heads": 4,
    "swiglu": True,
    "normalization": "RMSNorm",
    "position-embedding-type": "rope",
    "disable-bias-linear": True,
    "untie-embeddings-and-output-weights": True,
    "attention-dropout": 0.0,
    "hidden-dropout": 0.0,
    "micro-batch-size": 16,
    "save-interval": 100000,
    "eval-interval": 100000,
}
"""A small Llama-like model, on one rank."""

PLUGIN = "from megatron_lrps.pretrain import main; main()"
BARE = (
    "from megatron_lrps.training import cpu; cpu.install(); from megatron_lrps.training.megatron import gpt; gpt.main()"
)
"""Megatron with the same GPT script and CPU backend, without the plugin."""


def write_plan(folder: Path, iterations: int) -> Path:
    """Random tokens for the timeline, and a plan whose main path trains ``iterations``; returns the plan's file."""
    documents = iterations * BATCH * SEQUENCE * 3 // 600
    tokens = np.random.default_rng(1).integers(VOCABULARY - 1, size=(documents, 601), dtype=np.uint16)
    tokens[:, -1] = VOCABULARY - 1  # EOD
    lengths = np.full(documents, 601, np.int32)
    write_index(folder / "data", [tokens.tobytes()], lambda: [lengths], tokens.dtype)
    flags = ", ".join(f"{flag}: {str(value).lower()}" for flag, value in MODEL.items()).replace("rmsnorm", "RMSNorm")
    plan = folder / "plan.yaml"
    plan.write_text(
        f"campaign: benchmark\nsave: run\ndecay: {{alpha: 0.5}}\n"
        f"sequence_length: {SEQUENCE}\nglobal_batch_size: {BATCH}\n"
        f"versions: [{{name: v1, iters: {2 * iterations}, train: [[1.0, data]]}}]\n"
        f'tokenizer: {{type: "null", vocab_size: {VOCABULARY - 1}}}\n'
        f"megatron: {{{flags}}}\nlaunch: {{device: cpu}}\n"
    )
    return plan


def train(code: str, arguments: list[str], log: Path) -> None:
    """Run one rank of ``python -c code arguments`` to its end; fails with its log where it fails."""
    own = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    with log.open("w") as output:
        ended = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **CPU_ENV, **own, "CUDA_VISIBLE_DEVICES": ""},
            check=False,
        )
    if ended.returncode not in (EXIT_DONE, EXIT_CONTINUE):
        sys.exit(f"{log} ended with code {ended.returncode}:\n{log.read_text()[-3000:]}")
