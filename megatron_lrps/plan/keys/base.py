"""The base model of every section of the plan, and the types of single values."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from megatron_lrps.plan.file_paths import FilePath, FilePattern
from megatron_lrps.plan.keys.values import count, plain_name

__all__ = ["Count", "FilePath", "FilePattern", "Name", "PlanModel"]

# What the JSON schema says of them, and docs/plan.md calls them. The loader takes a name as it is written, 007 too, and
# a count may have a unit.
_NAME = {"$comment": "name", "type": ["string", "number", "boolean"], "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}
_COUNT = {"type": ["integer", "string"], "minimum": 1, "pattern": r"^\s*[0-9][0-9_]*(\.[0-9]+)?\s*[KMBTkmbt]?\s*$"}

Name = Annotated[str, BeforeValidator(plain_name), WithJsonSchema(_NAME)]
Count = Annotated[int, BeforeValidator(count), WithJsonSchema({"$comment": "count", **_COUNT})]


class PlanModel(BaseModel):
    """Base of every section: unknown keys are refused, nothing changes after reading.

    The text under a key says what it means, in the JSON schema and in docs/plan.md too (``json_schema.py``,
    ``keys_page.py``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def or_shorter(*forms: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return a ``json_schema_extra`` with the shorter forms that the validator accepts too."""

    def widen(schema: dict[str, Any]) -> None:
        whole = {key: schema.pop(key) for key in tuple(schema) if key not in ("default", "description", "title")}
        schema["anyOf"] = [*forms, whole]

    return widen
