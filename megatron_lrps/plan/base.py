"""What every section of the plan is built from: the base model, and the types of single values."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from megatron_lrps.plan.values import count, file_path, plain_name

Name = Annotated[str, BeforeValidator(plain_name)]
Count = Annotated[int, BeforeValidator(count)]
FilePath = Annotated[str, AfterValidator(file_path)]


class PlanModel(BaseModel):
    """Base of every section: unknown keys are refused, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
