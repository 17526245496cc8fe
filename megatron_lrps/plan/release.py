"""``evaluate`` and ``promote`` of the plan: how a trained version is scored, and what it takes to release it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from megatron_lrps.plan.base import Count, FilePath, PlanModel
from megatron_lrps.plan.slurm import Time, Word

Task = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A name of lm-eval's: a task, a group or a tag."""


class Evaluation(PlanModel):
    """``evaluate``: perplexity on every validation set, and lm-eval's tasks.

    ``tokens`` bounds what is read of each validation set; ``task_folder`` holds task files besides lm-eval's own,
    and with it nothing is fetched. ``limit`` is in documents of a task.
    """

    engine: Literal["export", "megatron"] = "export"
    tokens: Count | None = None
    tasks: tuple[Task, ...] = ()
    task_folder: FilePath | None = None
    few_shot: Annotated[int, Field(ge=0)] | None = None
    limit: Count | None = None
    backend: Literal["hf", "vllm"] = "hf"
    batch_size: Count = 8

    @model_validator(mode="after")
    def _for_tasks(self) -> "Evaluation":
        for key in ("task_folder", "few_shot", "limit"):
            if getattr(self, key) is not None and not self.tasks:
                raise ValueError(f"{key} is given, but there are no tasks; name them, or remove {key}")
        return self


class PromotionJob(PlanModel):
    """``promote.slurm``: where a promotion's job differs from those that train; it has one task on one node."""

    partition: Word | None = None
    time: Time | None = None
    gpus: Annotated[int, Field(ge=0)] = 1
    mem: Word | None = None
    cpus_per_task: Count | None = None


class Promotion(PlanModel):
    """``promote``: `lrps submit` adds a job for each version that verifies, exports, scores and releases it.

    ``gate`` is a file of conditions on the scores, one a line. ``check`` compares the export's logits with Megatron's.
    """

    gate: FilePath | None = None
    check: bool = True
    dtype: Literal["bf16", "fp32"] | None = None
    slurm: PromotionJob = PromotionJob()
