"""A recorded value as text for a terminal."""

import re
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_LONGEST = 500


def value_text(value: Any) -> str:
    """A value for a terminal: hashes shortened, no control characters, a mapping on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case dict():
            nested = (
                (key, f"({value_text(each)})" if isinstance(each, dict) else value_text(each))
                for key, each in value.items()
            )
            return ", ".join(f"{value_text(key)} {each}" for key, each in nested) or "-"
        case list():
            return ", ".join(map(value_text, value)) or "-"
        case str() if _SHA256.match(value):
            return value[:12]
        case str():
            shown = value if value.isprintable() else repr(value)
            return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    return str(value)
