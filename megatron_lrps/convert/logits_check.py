"""The check of ``--check``: does the export compute what Megatron computes?"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_lrps.convert.helper_process import OFFLINE, ON_CPU, python_lines
from megatron_lrps.errors import RefusedError

TOLERANCE = 1e-4
"""The largest difference allowed between two logits, both computed in fp32 from the same weights."""


class Compared(NamedTuple):
    """The largest difference between two logits, and the mean loss (in nats) of the next token by each side."""

    difference: float
    megatron_loss: float
    export_loss: float


def probe_tokens(vocab: int, positions: int, *, sequences: int = 4, longest: int = 128) -> list[list[int]]:
    """Return the token sequences to compare on, drawn from the whole vocabulary; the same every time."""
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
        checkpoint: Megatron's checkpoint.
        export: The Hugging Face folder, or another checkpoint of Megatron's.
        tokens: Sequences of one length.
        vocab: The number of tokens without padding; the logits of these are compared.
        dtype: The torch name of the dtype that the export was rounded to, or None.
        by: The library that computes the export's logits.

    Raises:
        RefusedError: the logits differ by more than ``TOLERANCE``, or transformers misses weights.
        LrpsError: one of them could not compute; the error quotes its message.
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
        raise RefusedError(
            f"{export}: its logits have shape {theirs.shape}, but Megatron's have {ours.shape}.",
            "do not use this export.",
        )
    difference = float(np.abs(ours - theirs).max())
    if not difference <= TOLERANCE:
        raise RefusedError(
            f"{export}: its logits differ from Megatron's by {difference:.3g}, but only {TOLERANCE:g} is allowed.",
            "report it; do not use this export.",
        )
    return Compared(difference, _loss(ours, tokens), _loss(theirs, tokens))


def _loss(logits: NDArray[Any], tokens: Sequence[Sequence[int]]) -> float:
    shifted = logits[:, :-1].astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    wanted = np.take_along_axis(shifted, np.asarray(tokens)[:, 1:, None], -1)[..., 0]
    return float(np.mean(np.log(np.exp(shifted).sum(-1)) - wanted))


def _run(arguments: list[str], asked: Any, who: str) -> str:
    failed, fix = f"{who} could not compute logits to compare", "fix that, then rerun."
    return "".join(python_lines(arguments, given=asked, env={**OFFLINE, **ON_CPU}, failed=failed, fix=fix))
