"""Reading and setting values of Bridge's ConfigContainer by their place in it, such as ``train.train_iters``."""

import dataclasses
from functools import reduce
from typing import Any

ABSENT = object()
"""A place that this config, or this release of Bridge, does not have."""


def value_at(config: Any, place: str) -> Any:
    """Return the value at a place; ``ABSENT`` if there is no such place, or if what holds it is None."""
    return reduce(lambda owner, name: getattr(owner, name, ABSENT), place.split("."), config)


def put(config: Any, place: str, value: Any) -> Any:
    """Set the value at a place that is there, and return the one that was.

    Returns:
        The value before; ``ABSENT`` if there is no such place, which is left so.
    """
    before = value_at(config, place)
    if before is not ABSENT:
        holder, _, name = place.rpartition(".")
        setattr(value_at(config, holder), name, value)
    return before


def was_chosen(config: Any, place: str) -> bool:
    """Whether the value at a place is not its default, so that somebody has set it."""
    holder, _, name = place.rpartition(".")
    value, owner = value_at(config, place), value_at(config, holder)
    if value is ABSENT or value is None:
        return False
    defaults = (
        {each.name: each.default for each in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else {}
    )
    return bool(value != defaults.get(name, ABSENT))
