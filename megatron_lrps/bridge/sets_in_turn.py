"""Several validation sets as the one that Bridge evaluates on."""

from collections.abc import Sequence
from typing import Any

import torch


class InTurn(torch.utils.data.Dataset[dict[str, Any]]):
    """Validation sets as the one that Bridge evaluates on: read in turn, and the same samples in each evaluation.

    Args:
        sets: The sets, none of them empty.
        begin: The position at which this run begins to read.
        each: The samples of one evaluation.
        end: The position up to which Bridge may read.
    """

    def __init__(self, sets: Sequence[Any], begin: int, each: int, end: int) -> None:
        self._sets, self._begin, self._each, self._end = tuple(sets), begin, max(1, each), end

    def __len__(self) -> int:
        return self._end

    def __getitem__(self, position: int) -> dict[str, Any]:
        turn, which = divmod((position - self._begin) % self._each, len(self._sets))
        return self._sets[which][turn % len(self._sets[which])]  # type: ignore[no-any-return]
