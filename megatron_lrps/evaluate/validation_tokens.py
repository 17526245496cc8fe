"""The tokens of validation sets, cut into windows that all engines read alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_lrps.data.index_reader import HEADER, index_facts
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.data_files import validation_sets

_DTYPES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
"""The dtype code of an index (``megatron/core/datasets/indexed_dataset.py``) -> dtype. Tokens are integers."""


class TokenWindows(NamedTuple):
    """A token stream in windows. Every token but the first is predicted once, from those before it in its window.

    Attributes:
        tokens: The stream, integers [n]: documents one after another, each with its EOD.
        length: The number of tokens that a window predicts from. The last window may be shorter.
    """

    tokens: NDArray[Any]
    length: int

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield each window with the token after it: int64 [length + 1]."""
        for begin in range(0, len(self.tokens) - 1, self.length):
            yield self.tokens[begin : begin + self.length + 1].astype(np.int64)


def sets_of(tree: Tree, path: PlannedPath) -> tuple[dict[str, Path], list[str]]:
    """Return every validation set of the plan by name, and the names of those that are missing.

    The sets of the path's own windows must exist. Those of later versions show how a model does on data that it has not
    seen yet, so they are used if they exist.

    Raises:
        RefusedError: a set of the path's own windows is missing.
    """
    own = validation_sets(tree, path)
    every = dict(own)
    for other in tree.paths:
        for name, prefix in validation_sets(tree, other).items():
            if prefix not in every.values():
                every.setdefault(name, prefix)
    absent = [name for name, prefix in every.items() if not Path(f"{prefix}.idx").is_file()]
    if wrong := [name for name in absent if name in own]:
        raise RefusedError(
            f"Validation set {wrong[0]} is missing: there is no {own[wrong[0]]}.idx.",
            "run lrps prepare PLAN, or correct the path.",
        )
    return {name: prefix for name, prefix in every.items() if name not in absent}, absent


def read_windows(prefix: Path, *, length: int, limit: int | None = None) -> TokenWindows:
    """Return the windows of ``prefix.bin``, which is mapped into memory and not read yet.

    Args:
        prefix: The path of the index, without ``.bin``.
        length: The number of tokens in a window.
        limit: The largest number of tokens to predict, or None.

    Raises:
        RefusedError: the index is missing or torn, or too short to predict a token.
    """
    facts = index_facts(prefix)
    with Path(f"{prefix}.idx").open("rb") as stream:
        code = HEADER.unpack(stream.read(HEADER.size))[2]
    if code not in _DTYPES:
        raise RefusedError(f"{prefix}.idx holds no whole numbers (dtype code {code}).", "prepare the data again.")
    if facts.tokens < 2:
        raise RefusedError(
            f"{prefix}.bin holds fewer than two tokens: there is nothing to predict.",
            "add text, then prepare the data again.",
        )
    tokens: NDArray[Any] = np.memmap(f"{prefix}.bin", dtype=_DTYPES[code], mode="r")
    return TokenWindows(tokens if limit is None else tokens[: limit + 1], length)
