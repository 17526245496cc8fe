"""How many rows the embeddings of a plan's model have. Pure: ``data.vocabulary`` asks the tokenizer's files."""

from typing import NamedTuple

from megatron_lrps.plan.model import Plan

ASSUMED_VOCABULARY = 32768
"""Tokens, where neither the plan nor its tokenizer's file says."""
_DIVISIBLE_BY = 128
"""Megatron's default of ``--make-vocab-size-divisible-by``."""


class Vocabulary(NamedTuple):
    """Rows of the embeddings, padded as Megatron pads them; and whether the tokens are only assumed."""

    size: int
    assumed: bool = False


def vocabulary_by_plan(plan: Plan, tokens: int | None = None) -> Vocabulary:
    """The vocabulary that the plan's flags make of so many tokens.

    Args:
        plan: The plan.
        tokens: What its tokenizer's file holds; None: it is not there, and the plan itself is asked.
    """
    flags = plan.megatron
    if padded := whole(flags.get("padded-vocab-size")):
        return Vocabulary(padded)
    known = tokens or (plan.tokenizer and plan.tokenizer.size) or whole(flags.get("vocab-size"))
    rows = whole(flags.get("make-vocab-size-divisible-by")) or _DIVISIBLE_BY
    rows *= whole(flags.get("tensor-model-parallel-size")) or 1
    return Vocabulary(-(-(known or ASSUMED_VOCABULARY) // rows) * rows, assumed=not known)


def whole(value: object) -> int | None:
    """A flag's value where it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
