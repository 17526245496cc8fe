"""The values that path.json may hold: nothing read from disk is trusted."""

import math
from collections.abc import Callable
from typing import Any

from megatron_lrps.plan.keys.values import plain_name
from megatron_lrps.schedule import Batches, Schedule

LATER = ("exports", "scores", "released")
"""Keys that a record gets only after training; their values need only be plain JSON."""
_MAX_DEPTH = 8


def is_name(value: Any) -> bool:
    """Whether a value may be used as a folder's name."""
    try:
        return bool(plain_name(value))
    except ValueError:
        return False


def plain(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """Return a value as valid JSON: nan and inf become None, and too deep nesting ``...``."""
    if isinstance(value, dict | list) and not depth:
        return "..."
    if isinstance(value, dict):
        return {key: plain(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each, depth - 1) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return isinstance(value, str | None)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**18


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # neither nan nor inf nor too large for a float


def _is_schedule(value: Any) -> bool:
    try:
        Schedule.from_json(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_batches(value: Any) -> bool:
    try:
        Batches.from_json(value)
    except (TypeError, ValueError):
        return False
    return True


def _has(value: Any, **checks: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(key in value and check(value[key]) for key, check in checks.items())


def _is_list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_data_set(value: Any) -> bool:
    match value:
        case [weight, str(), dict(known)]:
            found = {"tokens": None} | known  # records of lrps 0.1 have none
            count = _is_count(found["tokens"]) or found["tokens"] is None
            texts = _has(found, idx_sha256=_is_text, bin_bytes=_is_count, bin_sample_sha256=_is_text)
            return _is_number(weight) and weight > 0 and texts and count and len(found) == 4
    return False


def _is_replay(value: Any) -> bool:
    counts = isinstance(value, dict) and value.get("samples")
    return _has(value, share=_is_number) and isinstance(counts, dict) and all(map(_is_count, counts.values()))


def _is_window(value: Any) -> bool:
    whole = _has(value, version=_is_text, iterations=_is_count, data=_is_list_of(_is_data_set))
    return whole and ("replay" not in value or _is_replay(value["replay"]))


def is_data(value: Any) -> bool:
    """Whether a value is a run's record of its data: ``Identity.to_json``."""
    whole = _has(value, windows=_is_list_of(_is_window), tokenizer=_is_text_or_none, order=_is_text)
    return whole and ("blend" not in value or _is_blend(value["blend"]))


def _is_blend(value: Any) -> bool:
    return _has(value, version=_is_text, fork=_is_count, data=_is_list_of(_is_data_set))


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str | bool) or _is_number(each) for each in value.values())


CHECKS: dict[str, Callable[[Any], bool]] = {
    "campaign": _is_text,
    "path": _is_text,
    "kind": _is_text,
    "paradigm": _is_text,
    "version": _is_text_or_none,
    "parent": lambda value: value is None or is_name(value),
    "fork": _is_count,
    "end": _is_count,
    "status": _is_text,
    "schedule": _is_schedule,
    "lr": lambda value: _has(value, max=_is_number, min=_is_number) and len(value) == 2,
    "global_batch_size": lambda value: _is_count(value) and value > 0,
    "sequence_length": _is_count,
    "plan_hash": _is_text,
    "data": is_data,
    "layout": _is_flat,
    "consumed_samples": _is_count,
    "checkpoints": _is_list_of(lambda value: _has(value, iteration=_is_count, sha256=_is_text_or_none)),
    "libraries": _is_flat,
}
"""Each key that ``training.run.record`` writes -> the check of its value."""
SOMETIMES: dict[str, Callable[[Any], bool]] = {
    "batches": _is_batches,
    "adopted": lambda value: _has(value, folder=_is_text, iteration=_is_count, sha256=_is_text_or_none),
    "mean": _is_list_of(lambda value: _has(value, path=is_name, iteration=_is_count, weight=_is_number)),
}
"""The same for keys of some records: of a batch that rises, of a main path that continues from an adopted run, and of a
mean of checkpoints."""
