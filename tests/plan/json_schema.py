"""A validator for the part of JSON Schema that a plan's schema uses; a keyword that it does not know fails a test."""

import re
from collections.abc import Iterator
from typing import Any

SILENT = {"$schema", "$defs", "$comment", "title", "description", "default", "format"}
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    return next(errors(value, schema, schema["$defs"]), None) is None


def errors(value: Any, node: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    for keyword, said in node.items():
        if keyword not in SILENT and not RULES[keyword](value, said, node, definitions):
            yield f"{value!r} against {keyword} {said!r}"


def _typed(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _fits(value: Any, node: Any, definitions: dict[str, Any]) -> bool:
    return bool(node) if isinstance(node, bool) else next(errors(value, node, definitions), None) is None


def _matching(key: str, node: dict[str, Any]) -> list[Any]:
    found = [node["properties"][key]] if key in node.get("properties", {}) else []
    return found + [each for pattern, each in node.get("patternProperties", {}).items() if re.search(pattern, key)]


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


RULES: dict[str, Any] = {
    "$ref": lambda value, said, _, d: _fits(value, d[said.removeprefix("#/$defs/")], d),
    "anyOf": lambda value, said, _, d: any(_fits(value, form, d) for form in said),
    "type": lambda value, said, *_: any(_typed(value, kind) for kind in ([said] if isinstance(said, str) else said)),
    "enum": lambda value, said, *_: any(value == each and type(value) is type(each) for each in said),
    "const": lambda value, said, *_: value == said and type(value) is type(said),
    "pattern": lambda value, said, *_: not isinstance(value, str) or re.search(said, value) is not None,
    "minLength": lambda value, said, *_: not isinstance(value, str) or len(value) >= said,
    "minimum": lambda value, said, *_: not _numeric(value) or value >= said,
    "maximum": lambda value, said, *_: not _numeric(value) or value <= said,
    "exclusiveMinimum": lambda value, said, *_: not _numeric(value) or value > said,
    "exclusiveMaximum": lambda value, said, *_: not _numeric(value) or value < said,
    "minItems": lambda value, said, *_: not isinstance(value, list) or len(value) >= said,
    "maxItems": lambda value, said, *_: not isinstance(value, list) or len(value) <= said,
    "prefixItems": lambda value, said, _, d: (
        not isinstance(value, list) or all(_fits(item, each, d) for item, each in zip(value, said, strict=False))
    ),
    "items": lambda value, said, _, d: not isinstance(value, list) or all(_fits(item, said, d) for item in value),
    "minProperties": lambda value, said, *_: not isinstance(value, dict) or len(value) >= said,
    "required": lambda value, said, *_: not isinstance(value, dict) or set(said) <= set(value),
    "propertyNames": lambda value, said, _, d: not isinstance(value, dict) or all(_fits(key, said, d) for key in value),
    "properties": lambda value, said, node, d: (
        not isinstance(value, dict) or all(_fits(value[key], said[key], d) for key in said.keys() & value.keys())
    ),
    "patternProperties": lambda value, said, node, d: (
        not isinstance(value, dict) or all(_fits(value[key], each, d) for key in value for each in _matching(key, node))
    ),
    "additionalProperties": lambda value, said, node, d: (
        not isinstance(value, dict) or all(_matching(key, node) or _fits(value[key], said, d) for key in value)
    ),
}
