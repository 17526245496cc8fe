"""The types of Megatron's flags in the plan: flag without dashes -> value."""

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from megatron_lrps.plan.keys.values import flag_value

_VALUE = {
    "$comment": "value",
    "type": ["boolean", "number", "string", "array"],
    "items": {"type": ["number", "string"]},
    "minItems": 1,
}
FlagValue = bool | int | float | str | list[int | float | str]
Flags = dict[str, Annotated[FlagValue, BeforeValidator(flag_value), WithJsonSchema(_VALUE)]]
FLAG_NAMES: dict[str, Any] = {"propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$"}}
"""What the JSON schema says of a mapping of flags besides its type."""
