"""The token sequences that a check of logits computes, chosen so that they pass every boundary of the model.

A window of attention, a rescaled rotary embedding and a table of positions show only beyond a certain length. How many
of these lengths are compared depends on the memory that is free. Pure, but for reading how much that is.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from megatron_lrps.convert.architecture import LATENT_YARN, LLAMA3_ROPE
from megatron_lrps.plan.hybrid_pattern import MAMBA

SHORT = 128
"""The length of the sequences that every check computes."""
_SEQUENCES = 4
_PAST = 32
"""The tokens that are computed beyond a boundary."""
_KEPT = 64
"""The last tokens of a longer sequence, whose logits are compared."""
_CHUNK = 128
"""The positions that Megatron's Mamba layers compute at a time; a state goes on to the next ones."""
_BASE = int(1.5 * 2**30)
"""The bytes that Python, torch and Megatron take before they load a model."""


class Probe(NamedTuple):
    """What a check computes.

    Attributes:
        vocab: The number of tokens without padding; the logits of these are compared.
        terms: The number of rounded sums that a logit depends on: layers x width x 8 matrices of a layer.
        has_experts: The model has experts, so that rounding may send a token to another one.
        batches: Sequences of one length each.
        kept: For each batch, the number of last tokens whose logits are compared.
        left_out: The lengths that were left out because the free memory does not suffice.
        needed: The bytes of memory that the shortest batch needs.
    """

    vocab: int
    terms: int
    has_experts: bool
    batches: list[list[list[int]]]
    kept: list[int]
    left_out: list[int]
    needed: int

    @property
    def lengths(self) -> list[int]:
        """The length of each batch's sequences."""
        return [len(batch[0]) for batch in self.batches]


def probe_of(args: Mapping[str, Any], *, vocab: int, elements: int, free: int | None = None) -> Probe:
    """Return the probe for a model. The tokens are drawn from the whole vocabulary, the same every time.

    Args:
        args: Megatron's arguments of the model, by destination.
        vocab: The number of tokens of the tokenizer.
        elements: The number of values of all weights.
        free: The bytes of free memory; this machine's by default.
    """
    free = free_memory() if free is None else free
    positions = args["max_position_embeddings"]
    has_experts = bool(args.get("num_experts"))
    first = min(SHORT // _SEQUENCES if has_experts else SHORT, positions)
    sequences = _SEQUENCES**2 if has_experts else _SEQUENCES
    drawn = np.random.default_rng(20241007)
    batches, kept, left_out = [drawn.integers(0, vocab, (sequences, first)).tolist()], [first], []
    for length in sorted({min(boundary + _PAST, positions) for boundary in _boundaries(args)}):
        if length <= first:
            continue
        if _needed(args, elements, vocab, length) > free:
            left_out.append(length)
            continue
        batches.append(drawn.integers(0, vocab, (1, length)).tolist())
        kept.append(min(_KEPT, length))
    return Probe(
        vocab=vocab,
        terms=8 * args["num_layers"] * args["hidden_size"],
        has_experts=has_experts,
        batches=batches,
        kept=kept,
        left_out=left_out,
        needed=_needed(args, elements, vocab, first * sequences),
    )


def _boundaries(args: Mapping[str, Any]) -> set[int]:
    """Return the lengths beyond which the model computes something that it does not compute before."""
    positions: int = args["max_position_embeddings"]
    found = set()
    if args.get("window_size") is not None:
        found.add(args["window_size"][0] + 1)
    if args.get("position_embedding_type") == "learned_absolute":
        found.add(positions)
    if args.get("use_rope_scaling"):
        found.add(int(LLAMA3_ROPE["original_max_position_embeddings"]))
    if args.get("position_embedding_type") == "yarn":
        found.add(args["yarn_original_max_position_embeddings"])
    if args.get("multi_latent_attention") and args.get("rope_type") != "rope":
        found.add(LATENT_YARN.original)
    if MAMBA in str(args.get("hybrid_layer_pattern")):
        found.add(_CHUNK)
    if interpolation := args.get("rotary_seq_len_interpolation_factor"):
        found.add(positions // interpolation)
    return found


def _needed(args: Mapping[str, Any], elements: int, vocab: int, length: int) -> int:
    """Return an upper estimate of the bytes that a forward in fp32 takes: weights, attention scores, logits."""
    scores = 3 * args["num_attention_heads"] * length**2
    wide = length * (3 * vocab + 6 * (args.get("ffn_hidden_size") or 0) + 12 * args["hidden_size"])
    return _BASE + int(4 * (1.1 * elements + scores + wide))


def free_memory() -> int:
    """Return the bytes of memory that a new process can have on this machine, and in its control group."""
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    with contextlib.suppress(OSError, ValueError):  # without a limit, it says "max"
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(limit - used)
    return min(found, default=2**63)
