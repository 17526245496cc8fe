"""The number of embedding rows of a plan's model. Pure: ``data.vocabulary`` reads the tokenizer's files."""

from typing import NamedTuple

from megatron_lrps.plan.model import Plan

ASSUMED_VOCABULARY = 32768
"""The number of tokens if neither the plan nor its tokenizer's file gives it."""
_DIVISIBLE_BY = 128
"""Megatron's default for ``--make-vocab-size-divisible-by``."""


class Vocabulary(NamedTuple):
    """The number of embedding rows, padded as in Megatron; and whether the token count is only assumed."""

    size: int
    assumed: bool = False


def vocabulary_by_plan(plan: Plan, tokens: int | None = None) -> Vocabulary:
    """Return the vocabulary that the plan's flags make of a number of tokens.

    Args:
        plan: The plan.
        tokens: The number in its tokenizer's file; None if the file is missing, so the plan's own number is used.
    """
    flags = plan.megatron
    if padded := whole(flags.get("padded-vocab-size")):
        return Vocabulary(padded)
    known = tokens or (plan.tokenizer and plan.tokenizer.size) or whole(flags.get("vocab-size"))
    rows = whole(flags.get("make-vocab-size-divisible-by")) or _DIVISIBLE_BY
    rows *= whole(flags.get("tensor-model-parallel-size")) or 1
    return Vocabulary(-(-(known or ASSUMED_VOCABULARY) // rows) * rows, assumed=not known)


def whole(value: object) -> int | None:
    """Return a flag's value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
