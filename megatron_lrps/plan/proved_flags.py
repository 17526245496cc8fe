"""Which of Megatron's flags are proved: a test trains a main path with each, forks a version off it, and compares.

The list is ``proved_flags.tsv``, flag and the value that was tried, and `make test-flags` writes it.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from megatron_lrps.plan.batch_schedule import BATCH_FLAGS
from megatron_lrps.plan.entry_flags import is_not_honoured
from megatron_lrps.plan.flags import DEFAULTS, OWNED
from megatron_lrps.plan.megatron_arguments import by_flag
from megatron_lrps.plan.refused_flags import UNSAFE

TABLE = Path(__file__).with_suffix(".tsv")


@cache
def proved() -> frozenset[str]:
    """Return the proved flags, without dashes: those that a test tries, and those that every path has.

    ``tests/training/test_rising_batch.py`` tries the steps of a batch, to which a ramp is turned.
    """
    lines = TABLE.read_text(encoding="utf-8").splitlines()[1:]
    tried = {line.partition("\t")[0] for line in lines}
    return frozenset(tried | set(DEFAULTS) | set(OWNED) | set(BATCH_FLAGS))


def is_refused(flag: str) -> bool:
    """Whether `lrps plan` refuses a flag whatever its value."""
    return flag in UNSAFE or is_not_honoured(flag)


def unproved(flags: Mapping[str, Any]) -> list[str]:
    """Return those of a plan's flags of Megatron that are passed on, and that no test has trained with.

    Args:
        flags: Flag without dashes -> value; false leaves a flag out.
    """
    return [
        flag
        for flag, value in flags.items()
        if value is not False and flag in by_flag() and not is_refused(flag) and not proved() & set(_same(flag))
    ]


def _same(flag: str) -> tuple[str, ...]:
    """Return all names of a flag's argument that set it the same way."""
    argument = by_flag()[flag]
    return tuple(each for each in argument.flags if (each in argument.negative) == (flag in argument.negative))
