"""Checks the environment variables by which a launcher (torchrun, srun) gives each rank its number."""

import os
from collections.abc import Mapping, Sequence

import torch

from megatron_lrps.errors import RefusedError

_START = (
    "let a launcher start the ranks: lrps run PLAN, or torchrun --nproc-per-node N -m megatron_lrps.pretrain FLAGS."
)
_NUMBERS = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_PORT": 0}
"""The smallest value that each variable may have."""


def refuse_wrong_numbers(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse impossible numbers: Megatron would fail, or wait for ranks that never come.

    Raises:
        RefusedError: naming the variable and its value.
    """
    numbers: dict[str, int] = {}
    for name, least in _NUMBERS.items():
        if (text := environment.get(name)) is None:
            continue
        try:
            numbers[name] = int(text)
        except ValueError:
            raise RefusedError(f"{name} is {text!r}, which is not a number.", _START) from None
        if numbers[name] < least:
            raise RefusedError(f"{name} is {text}, but it must be {least} or more.", _START)
    ranks = numbers.get("WORLD_SIZE", 1)
    if numbers.get("RANK", 0) >= ranks:
        raise RefusedError(
            f"RANK is {numbers['RANK']} and WORLD_SIZE is {ranks}, but ranks are counted from 0.", _START
        )
    if ranks > 1 and "RANK" not in numbers:
        raise RefusedError(f"WORLD_SIZE is {ranks}, but RANK is not set.", _START)
    if numbers.get("MASTER_PORT", 0) > 65535:
        raise RefusedError(
            f"MASTER_PORT is {numbers['MASTER_PORT']}, but it must be 65535 or less.", "choose a port that is free."
        )


def refuse_no_launcher(argv: Sequence[str]) -> None:
    """Refuse a rank that does not know where the others are, unless it was only asked for help; raises RefusedError."""
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if not missing or {"-h", "--help", "--fake-process-group"} & set(argv) or torch.distributed.is_initialized():
        return
    raise RefusedError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set.", _START)
