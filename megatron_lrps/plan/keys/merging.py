"""``merge`` of the plan: versions that are weighted means of main-path checkpoints, and cost no iteration."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from megatron_lrps.plan.keys.base import PlanModel, or_shorter
from megatron_lrps.plan.keys.scoring_and_release import SmallJob
from megatron_lrps.schedule import MergeSpec, merge_kinds


def _kinds(schema: dict[str, Any]) -> None:
    schema["enum"] = [*merge_kinds()]


class Merge(PlanModel):
    """``merge``: the span, the number and the weights of the checkpoints; `true` takes the defaults."""

    model_config = ConfigDict(json_schema_extra=or_shorter({"const": True}))

    window: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    """The span of the checkpoints, as a share of all iterations up to the version's end. It may reach back past the
    version's own start."""
    checkpoints: Annotated[int, Field(ge=2)] = 10
    """The number of checkpoints, at equal distances. The last one is at the version's end. Main saves each of them,
    whatever its `save-interval`."""
    weights: Annotated[str, Field(json_schema_extra=_kinds)] = "mean"
    """The weights of the checkpoints. `mean` weighs all alike, and `ema` is an exponential moving average. The shape of
    a decay weighs them as that decay would weigh the updates between them (WSM, arXiv 2507.17634)."""
    slurm: SmallJob = SmallJob()
    """How the job that merges differs from the jobs that train."""

    @model_validator(mode="before")
    @classmethod
    def _true(cls, value: Any) -> Any:
        if value is False:
            raise ValueError("is false; remove it, since a campaign merges nothing by itself")
        return {} if value is True else value

    @field_validator("weights")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in merge_kinds():
            raise ValueError(f"is no kind of weights; choose one of {', '.join(merge_kinds())}")
        return value

    def spec(self) -> MergeSpec:
        """Return the merge in the form that ``schedule`` takes."""
        return MergeSpec(window=self.window, checkpoints=self.checkpoints, weights=self.weights)
