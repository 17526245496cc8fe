"""``--check``: the export computes what Megatron computes."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_lrps.errors import LrpsError, RefusedError

TOLERANCE = 1e-4
"""Largest difference of two logits, both computed in fp32 from the same weights."""
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


class Compared(NamedTuple):
    """The largest difference of two logits, and the mean loss of the next token by either (natural logarithm)."""

    difference: float
    megatron_loss: float
    export_loss: float


def probe_tokens(vocab: int, positions: int, *, sequences: int = 4, longest: int = 128) -> list[list[int]]:
    """Token sequences to compare on, the same every time: every part of the vocabulary is drawn from."""
    drawn = np.random.default_rng(20241007).integers(0, vocab, (sequences, min(longest, positions)))
    tokens: list[list[int]] = drawn.tolist()
    return tokens


def compare_logits(
    checkpoint: Path,
    export: Path,
    tokens: Sequence[Sequence[int]],
    *,
    vocab: int,
    dtype: str | None,
    by: Literal["transformers", "Megatron"] = "transformers",
) -> Compared:
    """Compute logits by Megatron from the checkpoint, and from the export.

    Args:
        checkpoint: Megatron's.
        export: The Hugging Face folder, or another checkpoint of Megatron's.
        tokens: Equally long sequences.
        vocab: Tokens without padding: logits of these are compared.
        dtype: torch's name of what the export rounds to, or None.
        by: What computes the export's.

    Raises:
        RefusedError: they differ by more than ``TOLERANCE``, or transformers misses weights.
        LrpsError: either could not compute, with its own words.
    """
    asked = {"tokens": tokens, "dtype": dtype}
    with tempfile.TemporaryDirectory(prefix="lrps-check-") as scratch:
        files = [Path(scratch) / name for name in ("checkpoint.npy", "export.npy")]
        megatron = ["-m", "megatron_lrps.convert.megatron_logits"]
        _run([*megatron, str(checkpoint), str(files[0])], asked, "Megatron")
        keys = {}
        if by == "Megatron":
            _run([*megatron, str(export), str(files[1])], asked, by)
        else:
            script = str(Path(__file__).with_name("transformers_logits.py"))
            keys = json.loads(_run(["-P", script, str(export), str(files[1])], asked, by))
        ours, theirs = (np.load(file, allow_pickle=False)[..., :vocab] for file in files)
    for what, names in keys.items():
        if names:
            raise RefusedError(
                f"transformers finds {len(names)} {what.replace('_', ' ')} in {export}: {names[0]}.",
                "report it; do not use this export.",
            )
    if ours.shape != theirs.shape:
        raise RefusedError(f"{export}: logits of {theirs.shape}, Megatron's are {ours.shape}.", "do not use it.")
    difference = float(np.abs(ours - theirs).max())
    if not difference <= TOLERANCE:
        raise RefusedError(
            f"{export}: its logits differ from Megatron's by {difference:.3g}, and {TOLERANCE:g} is allowed.",
            "report it; do not use this export.",
        )
    return Compared(difference, _loss(ours, tokens), _loss(theirs, tokens))


def _loss(logits: NDArray[Any], tokens: Sequence[Sequence[int]]) -> float:
    shifted = logits[:, :-1].astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    wanted = np.take_along_axis(shifted, np.asarray(tokens)[:, 1:, None], -1)[..., 0]
    return float(np.mean(np.log(np.exp(shifted).sum(-1)) - wanted))


def _run(arguments: list[str], asked: Any, who: str) -> str:
    ended = subprocess.run(
        [sys.executable, *arguments],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        # The check runs on the CPU wherever it is: Megatron's CPU backend refuses a machine whose GPU it can see.
        env={**os.environ, **_OFFLINE, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise LrpsError(f"{who} could not compute logits to compare: {reason[:300]}.", "fix that, then rerun.")
    return ended.stdout
