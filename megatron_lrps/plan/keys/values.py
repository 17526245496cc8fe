"""Single values of a plan: names, counts, paths, flag values; each check raises ValueError with the fix."""

import math
import re
from typing import Any

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
FLAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")
COUNT_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}

MAX_COUNT = 10**15
"""Larger than any run, and small enough that shares of it are exact in floating point."""


def plain_name(value: Any) -> str:
    """Check a name that is also a plain file name; raises ValueError otherwise."""
    if not isinstance(value, str) or not PLAIN_NAME.match(value):
        raise ValueError(
            "is not a plain file name; use letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )
    return value


def count(value: Any) -> int:
    """Read a positive whole number, also written 21B, 1.5M or 10_000."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMBT]?)", value.strip(), re.IGNORECASE)
        if not match:
            raise ValueError("is not a count; write a whole number, or a number with K, M, B or T, such as 21B")
        if len(match[1]) > 40:
            raise ValueError("has too many digits; shorten it")
        digits, unit = match[1].replace("_", ""), COUNT_UNITS[match[2].upper()]
        # Decimal places are whole units, as in 1.5M; the arithmetic stays exact.
        whole, _, decimals = digits.partition(".")
        scaled, remainder = divmod(int(whole + decimals) * unit, 10 ** len(decimals))
        if remainder:
            raise ValueError("is not a whole number; write one")
        value = scaled
    if isinstance(value, float) and value.is_integer():  # 1e4
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("is not a whole number; write one")
    if value < 1:
        raise ValueError("must be at least 1")
    if value > MAX_COUNT:
        raise ValueError(f"is above {MAX_COUNT:.0e}; lower it")
    return value


def flag_value(value: Any) -> Any:
    """Check the value of a Megatron flag; raises ValueError if it cannot be one."""
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, bool | int | float | str) for item in items):
        raise ValueError("is not a value that a flag takes; give true, false, a number, text or a list of these")
    if any(isinstance(item, float) and not math.isfinite(item) for item in items):
        raise ValueError("is not a finite number; give one")
    # It would be read as another flag, which nothing compares with the plan.
    if any(isinstance(item, str) and (item.startswith("--") or "\0" in item) for item in items):
        raise ValueError("holds a flag; give each flag a key of its own, without the leading dashes")
    return value


def shown(value: Any) -> str:
    """Return a value of the plan for messages: on one line, and not too long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
