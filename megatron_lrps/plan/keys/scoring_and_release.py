"""``evaluate`` and ``promote`` of the plan: how a trained version is scored, and what it takes to release it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from megatron_lrps.plan.keys.base import Count, FilePath, PlanModel
from megatron_lrps.plan.keys.slurm_job import Time, Word

Task = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A name of lm-eval's: a task, a group or a tag."""


class Evaluation(PlanModel):
    """``evaluate``: perplexity on every validation set, and lm-eval's tasks."""

    engine: Literal["export", "megatron"] = "export"
    """`export` scores the Hugging Face export with transformers, `megatron` the checkpoint with Megatron's own model on
    the CPU."""
    tokens: Count | None = None
    """The most tokens that are read of each validation set; all without it."""
    tasks: tuple[Task, ...] = ()
    """lm-eval's tasks, groups or tags, besides perplexity."""
    task_folder: FilePath | None = None
    """A folder of task files besides lm-eval's own. With it nothing is fetched."""
    few_shot: Annotated[int, Field(ge=0)] | None = None
    """Examples before each question; the task's own number without it."""
    limit: Count | None = None
    """The most documents of a task; all without it."""
    backend: Literal["hf", "vllm"] = "hf"
    """What runs the tasks."""
    batch_size: Count = 8
    """Of the tasks."""

    @model_validator(mode="after")
    def _for_tasks(self) -> "Evaluation":
        for key in ("task_folder", "few_shot", "limit"):
            if getattr(self, key) is not None and not self.tasks:
                raise ValueError(f"{key} is given, but there are no tasks; name them, or remove {key}")
        return self


class PromotionJob(PlanModel):
    """``promote.slurm``: where a promotion's job differs from those that train; it has one task on one node."""

    partition: Word | None = None
    """The job's partition; `launch.slurm`'s without it."""
    time: Time | None = None
    """The job's time limit; `launch.slurm`'s without it."""
    gpus: Annotated[int, Field(ge=0)] = 1
    """GPUs of the job."""
    mem: Word | None = None
    """Memory of the job, as `sbatch --mem` takes it."""
    cpus_per_task: Count | None = None
    """Cores of the job."""


class Promotion(PlanModel):
    """``promote``: `lrps submit` adds a job for each version that verifies, exports, scores and releases it."""

    gate: FilePath | None = None
    """A file of conditions on the scores, one a line. A version that does not meet them is not released."""
    check: bool = True
    """Compare the export's logits with Megatron's; false leaves that out, and the model card says so."""
    dtype: Literal["bf16", "fp32"] | None = None
    """The export's number format; as saved without it."""
    slurm: PromotionJob = PromotionJob()
    """How the promotion's job differs from those that train."""
