"""One-line errors for a plan's keys: the key as the reader finds it, the value, and the fix."""

import difflib
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.keys.values import PLAIN_NAME, shown

type Loc = tuple[str | int, ...]

_FIXES = {
    "extra_forbidden": "correct its spelling, or remove it; docs/plan.md lists the keys.",
    "missing": "add it.",
    "model_type": "give keys under it.",
    "dict_type": "give keys under it.",
    "tuple_type": "give a list.",
    "string_type": "give text, in quotes if it looks like a number.",
}
_ONE_OF = {"versions": "version", "cuts": "cut", "paths": "path"}
"""Lists of named items -> the word for one item."""
_CLOSE = 0.75
"""The minimum similarity of a misspelt key and the intended one (difflib's ratio)."""
_CLOSE_WORD = 0.5
"""The same for the words that differ: micro_batch_size is no misspelt global_batch_size."""


def explain(error: ValidationError, model: type[BaseModel], data: Any, prefix: str = "") -> PlanError:
    """Return pydantic's first error in one line: key, value, fix.

    Args:
        error: The error from validating ``data`` as ``model``.
        model: The section's model.
        data: The file's content, which gives the names of items.
        prefix: The section's place, if it is not the whole file.
    """
    details = error.errors(include_url=False)
    # pydantic also calls a list too short if one of its items is refused.
    details = [
        each
        for each in details
        if each["type"] != "too_short"
        or not any(each["loc"] == at["loc"][: len(each["loc"])] != at["loc"] for at in details)
    ]
    missing = {each["loc"] for each in details if each["type"] == "missing"}
    unknown = {each["loc"]: _meant(model, each["loc"]) for each in details if each["type"] == "extra_forbidden"}
    # `Versions:` is both an unknown key and a missing one; only the first of these tells the reader what to do.
    misspelt = [each for each in details if (*each["loc"][:-1], unknown.get(each["loc"])) in missing]
    first = (misspelt or details)[0]
    key = ".".join(each for each in (prefix, place(first["loc"], data)) if each) or "plan"
    more = f" ({len(details) - 1} more after this one)" if len(details) > 1 else ""
    kind, value = first["type"], shown(first["input"])
    if kind == "extra_forbidden":
        fix = _fix_of_unknown(model, first["loc"], first["input"], unknown[first["loc"]])
        return PlanError(f"{key} is an unknown key, with the value {value}{more}.", fix)
    if kind == "missing":
        return PlanError(f"{key} is missing{more}.", _FIXES[kind])
    message = first["msg"].removeprefix("Value error, ")
    if kind != "value_error":  # one of pydantic's own, such as "Input should be greater than 0"
        fix = message.replace("Input should", "the value should").replace("Dictionary should", "the mapping should")
        return PlanError(f"{key}: {value} is not valid here{more}.", _FIXES.get(kind) or f"{fix}.")
    what, _, fix = message.partition("; ")
    # An error on a whole mapping names its values itself.
    start = f"{key}:" if isinstance(first["input"], dict) else f"{key}: {value}"
    return PlanError(f"{start} {what}{more}.", f"{fix or 'change this value'}.")


def place(loc: Loc, data: Any) -> str:
    """Return a place in a plan as all messages name it: ``versions.v1.iters``, or ``versions[0].name`` without a name.

    Args:
        loc: Keys and positions, from the outermost inwards.
        data: The content that they index.
    """
    text, remark, container = "", "", ""
    for part in loc:
        if isinstance(data, list | tuple) and isinstance(part, int):
            data = data[part] if part < len(data) else None
            name = data.get("name") if isinstance(data, dict) else None
            if isinstance(name, str) and PLAIN_NAME.match(name):
                text += f".{name}"
            else:
                text += f"[{part}]"
                remark = f" (the {_ordinal(part + 1)} {_ONE_OF[container]})" if container in _ONE_OF else remark
        elif isinstance(data, dict) and isinstance(part, str):
            data, container = data.get(part), part
            text += f".{key_text(part)}"
        # Otherwise not in the file: a list made of a single value, or a member of a union.
    return text.removeprefix(".") + remark


def key_text(key: str) -> str:
    """Return a key for messages: on one line, whatever the plan holds."""
    return key if key.isprintable() and len(key) <= 60 else shown(key)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _fix_of_unknown(model: type[BaseModel], loc: Loc, value: Any, meant: str | None) -> str:
    key = str(loc[-1])
    if meant is not None:
        return f"did you mean `{meant}`?"
    if key.isdigit() and value is None:  # {tokens: 1,500,000} has the keys tokens, 500 and 000
        return "write numbers without commas: 1_500_000, or 0.6."
    elsewhere = [at for at, name in _everywhere(model) if name == _plain(key)]
    if elsewhere:
        return f"move it to {' or '.join(f'`{at}`' for at in elsewhere[:3])}."
    if len(loc) == 1 and "megatron" in model.model_fields and "_" in _plain(key):
        return "correct its spelling, or remove it; a flag of Megatron belongs under `megatron:`."
    return _FIXES["extra_forbidden"]


def _meant(model: type[BaseModel], loc: Loc) -> str | None:
    """Return the key of the same section that an unknown key resembles, or None."""
    key, known = _plain(str(loc[-1])), _keys_at(model, loc[:-1])
    if key in known:
        return key
    words = set(key.split("_"))
    if len(within := [each for each in known if words < set(each.split("_"))]) == 1:  # gpus: gpus_per_node
        return within[0]
    for each in difflib.get_close_matches(key, known, n=3, cutoff=_CLOSE):
        own, other = sorted(words - set(each.split("_"))), sorted(set(each.split("_")) - words)
        if difflib.SequenceMatcher(None, "_".join(own), "_".join(other)).ratio() >= _CLOSE_WORD:
            return each
    return None


def _plain(key: str) -> str:
    return key.strip().lower().replace("-", "_").replace(" ", "_")


def _keys_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Return the keys that a plan may have at a place."""
    at: list[Any] = [model]
    for part in loc:
        at = [inner for each in at for inner in _inside(each, part)]
    return [name for each in at for name in _names(each)]


def _names(annotation: Any) -> list[str]:
    return (
        [name for name, field in annotation.model_fields.items() if not field.exclude] if _is_model(annotation) else []
    )


def _inside(annotation: Any, part: str | int | None) -> list[Any]:
    """Return the types of the values in this type at a key or position; None: at any."""
    if _is_model(annotation):
        fields = annotation.model_fields
        return _members(fields[part].annotation) if part in fields else []
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return _members(arguments[1])
    return [inner for each in arguments for inner in _members(each)]


def _members(annotation: Any) -> list[Any]:
    """Return a type without its annotations; for a union, all its members."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [inner for each in get_args(annotation) for inner in _members(each)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _everywhere(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place, key) for every key below a section; list items are called NAME."""
    for name in _names(model):
        yield f"{at}{name}", name
        for inner in _members(model.model_fields[name].annotation):
            if _is_model(inner):
                yield from _everywhere(inner, f"{at}{name}.")
            else:
                for item in _inside(inner, None):
                    if _is_model(item):
                        yield from _everywhere(item, f"{at}{name}.NAME.")
