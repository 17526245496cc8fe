"""``replay`` of a version: the share of its window that is drawn from earlier windows' data."""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from megatron_lrps.plan.keys.base import Name, PlanModel, or_shorter

EVEN = "even"
_SHARE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}


def _share(value: Any) -> Any:
    if value == EVEN:
        return value
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 < number < 1.0:
        raise ValueError(f"is not valid here; give a number above 0 and below 1, or {EVEN}")
    return number


Share = Annotated[
    Annotated[float, Field(gt=0.0, lt=1.0)] | Literal["even"],
    BeforeValidator(_share),  # one error in place of one for each side of the union
]
Weight = Annotated[float, Field(gt=0.0)]


class Replay(PlanModel):
    """A share of a window's samples, drawn again from earlier windows' data; in the plan also just the share."""

    model_config = ConfigDict(json_schema_extra=or_shorter(_SHARE, {"const": EVEN}))

    share: Share
    """The share of the window's samples that is drawn again. `even` draws alike from all windows so far, this one
    included, in proportion to their samples: half of the second of equal windows, and three quarters of the fourth."""
    weights: dict[Name, Weight] | None = Field(default=None, min_length=1)
    """The weight of each earlier version. A version without a weight is not replayed. By default all earlier versions
    are replayed, each in proportion to its number of samples."""

    @model_validator(mode="before")
    @classmethod
    def _share_alone(cls, value: Any) -> Any:
        return value if isinstance(value, dict | Replay) else {"share": value}

    @model_validator(mode="after")
    def _no_weights_when_even(self) -> "Replay":
        if self.share == EVEN and self.weights is not None:
            raise ValueError("has weights beside share: even, which weighs all windows alike; give one of the two")
        return self

    @property
    def share_words(self) -> str:
        """The share as the plan has it."""
        return self.share if isinstance(self.share, str) else f"{self.share:g}"

    def __str__(self) -> str:
        weights = ", ".join(f"{weight:g} of {name}" for name, weight in (self.weights or {}).items())
        return f"{self.share_words} ({weights})" if weights else self.share_words
