"""``replay`` of a version: the share of its window that is drawn from earlier windows' data."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from megatron_lrps.plan.keys.base import Name, PlanModel, or_shorter

_SHARE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
Weight = Annotated[float, Field(gt=0.0)]


class Replay(PlanModel):
    """A share of a window's samples, drawn again from earlier windows' data; in the plan also just the share."""

    model_config = ConfigDict(json_schema_extra=or_shorter(_SHARE))

    share: Annotated[float, Field(gt=0.0, lt=1.0)]
    """The share of the window's samples that is drawn again."""
    weights: dict[Name, Weight] | None = Field(default=None, min_length=1)
    """The weight of each earlier version. A version without a weight is not replayed. By default all earlier versions
    are replayed, each in proportion to its number of samples."""

    @model_validator(mode="before")
    @classmethod
    def _share_alone(cls, value: Any) -> Any:
        return value if isinstance(value, dict | Replay) else {"share": value}

    def __str__(self) -> str:
        weights = ", ".join(f"{weight:g} of {name}" for name, weight in (self.weights or {}).items())
        return f"{self.share:g} ({weights})" if weights else f"{self.share:g}"
