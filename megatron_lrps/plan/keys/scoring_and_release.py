"""``evaluate`` and ``promote`` of the plan: how a trained version is scored, and when it is released."""

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
    """The largest number of tokens that are read of each validation set. By default all are read."""
    tasks: tuple[Task, ...] = ()
    """The tasks, groups or tags of lm-eval that are run besides perplexity."""
    task_folder: FilePath | None = None
    """A folder with task files of your own. If it is given, nothing is fetched."""
    few_shot: Annotated[int, Field(ge=0)] | None = None
    """The number of examples before each question. By default the task decides it."""
    limit: Count | None = None
    """The largest number of documents of a task. By default all are used."""
    backend: Literal["hf", "vllm"] = "hf"
    """The backend of lm-eval that runs the tasks."""
    batch_size: Count = 8
    """The batch size for the tasks."""

    @model_validator(mode="after")
    def _for_tasks(self) -> "Evaluation":
        for key in ("task_folder", "few_shot", "limit"):
            if getattr(self, key) is not None and not self.tasks:
                raise ValueError(f"{key} is given, but there are no tasks; name them, or remove {key}")
        return self


class SmallJob(PlanModel):
    """``promote.slurm`` and ``merge.slurm``: where the job of one task on one node differs from those that train."""

    partition: Word | None = None
    """The partition of the job. By default it is that of `launch.slurm`."""
    time: Time | None = None
    """The time limit of the job. By default it is that of `launch.slurm`."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """The number of GPUs of the job. By default a promotion has 1, and a merge has none."""
    mem: Word | None = None
    """The memory of the job, as `sbatch --mem` takes it."""
    cpus_per_task: Count | None = None
    """The number of cores of the job."""


class Promotion(PlanModel):
    """``promote``: `lrps submit` adds a job for each version that verifies, exports, scores and releases it."""

    gate: FilePath | None = None
    """A file of conditions on the scores, one on each line. A version that does not meet them is not released."""
    check: bool = True
    """Whether the logits of the export are compared with Megatron's. If not, the model card says so."""
    dtype: Literal["bf16", "fp32"] | None = None
    """The number format of the export. By default it is that of the checkpoint."""
    slurm: SmallJob = SmallJob()
    """How the job that promotes a version differs from the jobs that train."""
