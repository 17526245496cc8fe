"""The check of an export or an import: does the copy compute what the original computes?"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from megatron_lrps.convert.helper_process import OFFLINE, ON_CPU, python_lines
from megatron_lrps.convert.probe import Probe, free_memory, probe_of
from megatron_lrps.convert.safetensors import dtype_name
from megatron_lrps.errors import RefusedError

_SAFETY = 4
"""A tolerance is this many times the expected rounding."""
_REROUTED = 0.2
"""The share of tokens of a model with experts that may differ: where two experts are nearly equal, rounding decides."""
Library = Literal["transformers", "Megatron"]


class Compared(NamedTuple):
    """What a check found.

    Attributes:
        difference: The largest difference between two logits.
        megatron_loss: The mean loss (in nats) of the next token by Megatron, on the first batch.
        export_loss: That of the export.
        tolerance: The largest difference that rounding explains.
        longest: The length of the longest sequence that was computed.
    """

    difference: float
    megatron_loss: float
    export_loss: float
    tolerance: float
    longest: int


def check_copy(
    asked: bool | None,
    checkpoint: Path,
    copy: Path,
    args: Mapping[str, Any],
    *,
    vocab: int,
    elements: int,
    dtype: torch.dtype | None = None,
    by: Library = "transformers",
    config: Mapping[str, Any] | None = None,
    name: Path,
    say: Callable[[str], None],
) -> Compared | None:
    """Compare logits, if that is asked for, or if it is neither asked for nor against and this machine can do it.

    Args:
        asked: ``--check``, ``--no-check``, or None.
        checkpoint: As in ``compare_logits``, and so are ``copy``, ``by`` and ``name``.
        copy: The copy.
        args: Megatron's arguments of the model, by destination.
        vocab: The number of tokens of the tokenizer.
        elements: The number of values of all weights.
        dtype: The dtype that the copy was rounded to, or None.
        by: The library that computes the copy's logits.
        config: As in ``compare_logits``.
        name: The place that the copy will have.
        say: Called with a line on what is compared, or why nothing is.

    Raises:
        RefusedError: as ``compare_logits``, and so is LrpsError.
    """
    if asked is False:
        return None
    free = free_memory()
    probe = probe_of(args, vocab=vocab, elements=elements, free=free)
    libraries = ("megatron", "transformers") if by == "transformers" else ("megatron",)
    missing = [library for library in libraries if not find_spec(library)]
    if asked is None and (missing or probe.needed > free):
        gib = f"the model needs {probe.needed / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free"
        why = f"{missing[0]} is not installed" if missing else gib
        say(f"logits are not compared: {why} (--check compares them all the same)")
        return None
    lengths = " and ".join(f"{length:,}" for length in probe.lengths)
    say(f"comparing logits at {lengths} tokens (--no-check leaves it out)")
    for length in probe.left_out:
        say(f"logits are not compared at {length:,} tokens, for which too little memory is free")
    rounded = dtype_name(dtype) if dtype else None
    return compare_logits(checkpoint, copy, probe, dtype=rounded, by=by, config=config, name=name)


def compare_logits(
    checkpoint: Path,
    copy: Path,
    probe: Probe,
    *,
    dtype: str | None,
    by: Library = "transformers",
    config: Mapping[str, Any] | None = None,
    name: Path | None = None,
) -> Compared:
    """Compute logits in fp32 by Megatron from a checkpoint, and from its copy.

    The tolerance is relative to the largest logit: each of the ``terms`` sums that a logit depends on is rounded by
    about 2^-24 of it, and independent errors add up as a square root.

    Args:
        checkpoint: Megatron's checkpoint.
        copy: The Hugging Face folder, or another checkpoint of Megatron's.
        probe: What to compute.
        dtype: The torch name of the dtype that the copy was rounded to, or None.
        by: The library that computes the copy's logits.
        config: Keys of config.json that transformers is to compute with in place of the copy's.
        name: The copy's name for messages, if it has not got its place yet.

    Raises:
        RefusedError: the logits differ by more than rounding explains, or transformers misses weights.
        LrpsError: one of them could not compute; the error quotes its message.
    """
    shown = name or copy
    asked = {"batches": probe.batches, "kept": probe.kept, "dtype": dtype, "config": config or {}}
    with tempfile.TemporaryDirectory(prefix="lrps-check-") as scratch:
        files = [Path(scratch) / name for name in ("checkpoint.npz", "copy.npz")]
        megatron = ["-m", "megatron_lrps.convert.megatron_logits"]
        _run([*megatron, str(checkpoint), str(files[0])], asked, "Megatron")
        keys = {}
        if by == "Megatron":
            _run([*megatron, str(copy), str(files[1])], asked, by)
        else:
            script = str(Path(__file__).with_name("transformers_logits.py"))
            keys = json.loads(_run(["-P", script, str(copy), str(files[1])], asked, by))
        ours, theirs = (_read(file, probe) for file in files)
    _refuse_keys(keys, shown)
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        raise RefusedError(
            f"{shown}: its logits have shape {theirs[0].shape}, but Megatron's have {ours[0].shape}.",
            "report it; do not use it.",
        )
    differences = [np.abs(one - other).max(-1) for one, other in zip(ours, theirs, strict=True)]
    scale = max(float(np.abs(each).max()) for each in ours)
    tolerance = _SAFETY * float(np.finfo(np.float32).eps) * probe.terms**0.5 * scale
    allowed = _REROUTED if probe.has_experts else 0.0
    difference = max(float(each.max()) for each in differences)
    for length, found in zip(probe.lengths, differences, strict=True):
        if not float(np.mean(~(found <= tolerance))) <= allowed:
            raise RefusedError(
                f"{shown}: its logits differ from Megatron's by {float(found.max()):.3g} at {length:,} tokens, but "
                f"rounding explains only {tolerance:.3g} (the largest logit is {scale:.3g}).",
                "report it; do not use it.",
            )
    first = probe.batches[0]
    return Compared(difference, _loss(ours[0], first), _loss(theirs[0], first), tolerance, max(probe.lengths))


def check_loading(
    asked: bool | None, copy: Path, *, vocab: int, elements: int, name: Path, say: Callable[[str], None]
) -> None:
    """Let transformers load an export that Megatron's forward cannot be compared with, and compute with it.

    Args:
        asked: ``--no-check`` or None.
        copy: The Hugging Face folder.
        vocab: The number of tokens.
        elements: The number of values of all weights.
        name: The place that the export will have.
        say: Called with a line on what is done, or why nothing is.

    Raises:
        RefusedError: a weight is missing or left over, or a logit is not finite.
        LrpsError: transformers cannot compute; the error quotes its message.
    """
    if asked is False:
        return
    free, needed = free_memory(), int(4 * 1.2 * elements) + 2**30
    if not find_spec("transformers") or needed > free:
        gib = f"the model needs {needed / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free"
        say(f"the export is not loaded: {gib if find_spec('transformers') else 'transformers is not installed'}")
        return
    say("transformers loads the export; logits are not compared, as Megatron's forward is not built for this model")
    length = min(vocab, 8)
    with tempfile.TemporaryDirectory(prefix="lrps-check-") as scratch:
        file = Path(scratch) / "copy.npz"
        script = str(Path(__file__).with_name("transformers_logits.py"))
        given = {"batches": [[list(range(length))]], "kept": [length], "config": {}}
        keys = json.loads(_run(["-P", script, str(copy), str(file)], given, "transformers"))
        with np.load(file, allow_pickle=False) as arrays:
            finite = bool(np.isfinite(arrays["arr_0"]).all())
    _refuse_keys(keys, name)
    if not finite:
        raise RefusedError(f"{name}: its logits are not finite.", "report it; do not use it.")


def _refuse_keys(keys: Mapping[str, Sequence[str]], shown: Path) -> None:
    for what, names in keys.items():
        if names:
            raise RefusedError(
                f"transformers finds {len(names)} {what.replace('_', ' ')} in {shown}: {names[0]!r}.",
                "report it; do not use it.",
            )


def _read(file: Path, probe: Probe) -> list[NDArray[Any]]:
    with np.load(file, allow_pickle=False) as arrays:
        return [arrays[f"arr_{number}"][..., : probe.vocab] for number in range(len(probe.batches))]


def _loss(logits: NDArray[Any], tokens: Sequence[Sequence[int]]) -> float:
    shifted = logits[:, :-1].astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    wanted = np.take_along_axis(shifted, np.asarray(tokens)[:, 1:, None], -1)[..., 0]
    return float(np.mean(np.log(np.exp(shifted).sum(-1)) - wanted))


def _run(arguments: list[str], asked: Any, who: str) -> str:
    failed, fix = f"{who} could not compute logits to compare", "fix that, or leave the comparison out with --no-check."
    return "".join(python_lines(arguments, given=asked, env={**OFFLINE, **ON_CPU}, failed=failed, fix=fix))
