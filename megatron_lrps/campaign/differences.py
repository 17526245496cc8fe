"""What differs between two versions of a campaign, key by key."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.lineage import Facts, schedule_words
from megatron_lrps.campaign.record_values import LATER

_PLAIN = (
    *("kind", "paradigm", "parent", "fork", "end", "status", "consumed_samples", "global_batch_size", "batches"),
    *("sequence_length", "lr", "plan_hash", "layout", "libraries"),
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A key and its two values; None for a side that lacks it."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two versions side by side.

    Attributes:
        differences: The values that differ, in the order of a record.
        same: The number of equal values.
        one_sided: Keys that only one of the records has.
    """

    differences: tuple[Difference, ...]
    same: int
    one_sided: tuple[str, ...]


def compare(a: Facts, b: Facts) -> Comparison:
    """Compare how two versions were made, without names, checkpoints and history, which always differ."""
    # A plan alone has no data fingerprints: unless both sides have them, all data would look changed.
    hashes = a.record == b.record == "read"
    left, right = _comparable(a.values, hashes=hashes), _comparable(b.values, hashes=hashes)
    both = [key for key in {**left, **right} if key in LATER or (key in left and key in right)]
    found = [each for key in both for each in _walk(key, left.get(key), right.get(key))]
    differences = tuple(each for each in found if each is not None)
    one_sided = tuple(key for key in {**left, **right} if key not in both)
    return Comparison(differences=differences, same=len(found) - len(differences), one_sided=one_sided)


def _walk(key: str, a: Any, b: Any) -> Iterator[Difference | None]:
    """Yield each difference below a key, and None for each equal value."""
    if isinstance(a, dict) and isinstance(b, dict):
        for each in {**a, **b}:
            if each in a and each in b:
                yield from _walk(f"{key}.{each}", a[each], b[each])
            else:
                yield Difference(key=f"{key}.{each}", a=a.get(each), b=b.get(each))
    else:
        yield Difference(key=key, a=a, b=b) if a != b else None


def _comparable(values: Mapping[str, Any], *, hashes: bool) -> dict[str, Any]:
    """Return a record's values by keys that mean the same in every version."""
    found = {key: values[key] for key in _PLAIN if key in values}
    if words := schedule_words(values):
        found["schedule"] = {str(number): text for number, text in enumerate(words, 1)}
    data = values.get("data", {})
    found |= {key: data[key] for key in ("order", "tokenizer") if key in data}
    if "windows" in data:
        found["data"] = {window["version"]: _window(window, hashes=hashes) for window in data["windows"]}
    if "blend" in data:
        found["blend"] = _train(data["blend"]["data"], hashes=hashes)
    return found | {key: values[key] for key in LATER if key in values}


def _window(window: Mapping[str, Any], *, hashes: bool) -> dict[str, Any]:
    replay = {"replay": window["replay"]} if "replay" in window else {}
    return {"iterations": window["iterations"], "train": _train(window["data"], hashes=hashes), **replay}


def _train(data: Sequence[Any], *, hashes: bool) -> dict[str, Any]:
    train = {}
    for number, (weight, prefix, prints) in enumerate(data, 1):
        # By its file name: its folder does not change a version.
        name = Path(prefix).name
        train[name if name not in train else f"{name} ({number})"] = {"weight": weight, **(prints if hashes else {})}
    return train
