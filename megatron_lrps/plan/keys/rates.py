"""``lr`` and ``decay`` of the plan: the range of the learning rate, and the curve of its decay."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from megatron_lrps.plan.keys.base import PlanModel
from megatron_lrps.plan.keys.values import MAX_COUNT
from megatron_lrps.schedule import SHAPES, DecaySpec

Share = Annotated[float, Field(gt=0.0, le=1.0)]
Steps = tuple[tuple[float, float], ...]


def _shapes(schema: dict[str, Any]) -> None:
    schema["enum"] = [*SHAPES]  # looked up when the schema is made, so that a new shape is among them


class LearningRate(PlanModel):
    """``lr``: one (max, min) pair for all paths, since Megatron makes it part of the optimizer's identity."""

    max: Annotated[float, Field(gt=0.0)] = 3.0e-4
    """The learning rate of the main path after its warm-up: Megatron's `--lr`."""
    min: Annotated[float, Field(ge=0.0)] = 3.0e-5
    """The learning rate at the end of every decay: Megatron's `--min-lr`."""
    warmup_iters: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 0
    """The number of iterations over which the rate rises linearly to `max`. No branch may fork before they are over."""

    @model_validator(mode="after")
    def _ordered(self) -> "LearningRate":
        if self.min > self.max:
            raise ValueError(f"lr.min {self.min:g} is above lr.max {self.max:g}; exchange them")
        return self


class Decay(PlanModel):
    """``decay``: the shape, and alpha, the share of a version's own iterations that its branch decays over."""

    shape: Annotated[str, Field(json_schema_extra=_shapes)] = "cosine"
    """The curve of the decay."""
    alpha: Share = 0.6
    """The share of a version's own iterations that its branch decays over: it forks off main alpha T iterations before
    the end of the version's window of T iterations."""
    hold: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """The share of a whole schedule (PTFS, CPT) that stays at the maximum before it decays. The default is 0.5 for
    `knee`, and 0 for the other shapes."""
    steps: Steps | None = None
    """The steps of a whole `multi-step` schedule (PTFS, CPT), as (share, factor) pairs: from that share of the schedule
    on, the rate is the factor times the maximum. The default is (0.8, 0.316) and (0.9, 0.1)."""
    branch_steps: Steps | None = None
    """The steps of a `multi-step` branch, likewise. The first pair begins at share 0, which is the fork. The default is
    (0, 0.316) and (0.5, 0.1)."""

    @field_validator("shape")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in SHAPES:
            raise ValueError(f"is not a decay shape; choose one of {', '.join(SHAPES)}")
        return value

    @field_validator("steps", "branch_steps")
    @classmethod
    def _falling(cls, value: Steps | None) -> Steps | None:
        if value is None:
            return None
        shares = [share for share, _ in value]
        factors = [factor for _, factor in value]
        if not value or sorted(set(shares)) != shares or not all(0 <= share < 1 for share in shares):
            raise ValueError("are not steps of a schedule; give (share, factor) pairs with rising shares in [0, 1)")
        if sorted(factors, reverse=True) != factors or not all(0 <= factor <= 1 for factor in factors):
            raise ValueError("are not steps of a schedule; give (share, factor) pairs with falling factors in [0, 1]")
        return value

    @model_validator(mode="after")
    def _fitting(self) -> "Decay":
        for key in ("hold",) if SHAPES[self.shape].steps else ("steps", "branch_steps"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key} is given, but the shape {self.shape} has none; remove it")
        return self

    @field_validator("branch_steps")
    @classmethod
    def _from_the_fork(cls, value: Steps | None) -> Steps | None:
        if value is not None and value[0][0] != 0.0:
            raise ValueError("do not begin at the fork point; let the first share be 0")
        return value

    def spec(self) -> DecaySpec:
        """Return the decay in the form that ``schedule`` takes."""
        hold = SHAPES[self.shape].hold if self.hold is None else self.hold
        return DecaySpec(shape=self.shape, hold=hold, steps=self.steps, branch_steps=self.branch_steps)
