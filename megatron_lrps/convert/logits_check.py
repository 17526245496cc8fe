"""``--check``: the export computes what Megatron computes."""

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
"""Largest difference of two logits, both computed in fp32 from the same weights."""


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
    failed = f"{who} could not compute logits to compare"
    env = {**OFFLINE, **ON_CPU}
    return "".join(
        python_lines(arguments, given=json.dumps(asked), env=env, failed=failed, fix="fix that, then rerun.")
    )
