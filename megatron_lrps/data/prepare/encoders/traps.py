"""Texts on which two readers of one tokenizer are most likely to give different ids."""

from collections.abc import Iterator, Sequence

import numpy as np

from megatron_lrps.data.prepare.encoders.encoder import Encoder

TRAPS = (
    "",
    "x",
    " ",
    "\n",
    " leading and  double   spaces \ttab\r\nnext\n\n\n    indented",
    "def f(x_1, y=2.5):\n\treturn {'a': x_1 ** 2}  # 12345\n",
    "caf\u00e9 cafe\u0301 \u00a0\u3000wide \u6f22\u5b57 \U0001f469\u200d\U0001f680 \ufb01 \u00bd \u0663\u0664",
    "<|endoftext|> <s> </s> [INST] <unk> don't I'LL 'tis",
    "a\0b \x1c \x85 \u2028 \ufeffmark",
    "x" * 3000,
    "word " * 500,
    "\r\n" * 50,
    "1234567890" * 20,
)

SAMPLED_TOKENS = 2000
"""The number of vocabulary tokens that are encoded on their own and among others."""


def trap_texts(tokens: Sequence[str]) -> Iterator[str]:
    """Yield ``TRAPS``, and an even sample of the vocabulary's own ``tokens``, because merges need not give a token."""
    yield from TRAPS
    for token in tokens[:: max(1, len(tokens) // SAMPLED_TOKENS)]:
        yield token
        yield f"a{token}b {token} c"


def first_difference(one: Encoder, other: Encoder, texts: Sequence[str]) -> str | None:
    """Return the first text for which ``one`` and ``other`` give different ids; None if there is none."""
    found, expected = one.encode(texts), other.encode(texts)
    if np.array_equal(found.lengths, expected.lengths) and np.array_equal(found.ids, expected.ids):
        return None
    alone = (text for text in texts if not np.array_equal(one.encode([text]).ids, other.encode([text]).ids))
    return next(alone, "several texts at once")
