"""What every section of the plan is built from: the base model, and the types of single values."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from megatron_lrps.plan.file_paths import FilePath, FilePattern
from megatron_lrps.plan.values import count, plain_name

__all__ = ["Count", "FilePath", "FilePattern", "Name", "PlanModel"]

Name = Annotated[str, BeforeValidator(plain_name)]
Count = Annotated[int, BeforeValidator(count)]


class PlanModel(BaseModel):
    """Base of every section: unknown keys are refused, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
