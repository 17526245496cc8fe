"""``launch.slurm``: a job's settings for the cluster."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from megatron_lrps.plan.keys.base import Count, FilePath, PlanModel


def _word(value: str) -> str:
    if not re.fullmatch(r"\S+", value) or not value.isprintable():
        raise ValueError("is not one word; write it without spaces")
    return value


def _time(value: str) -> str:
    if seconds_of(value) == 0:
        raise ValueError('is not a time that Slurm reads; write "minutes", "hours:minutes:seconds" or "days-hours"')
    return value


def _mount(value: Any) -> Any:
    whole = isinstance(value, Path) or (isinstance(value, str) and value.startswith(("/", "~", "$")))
    if not whole or set(",:") & set(str(value)) or not str(value).isprintable():
        raise ValueError("is not an absolute path without ',' and ':'; write the whole path of a folder")
    return value


Word = Annotated[str, AfterValidator(_word)]
Time = Annotated[str, AfterValidator(_time)]
Mount = Annotated[FilePath, BeforeValidator(_mount), AfterValidator(_mount)]

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<fields>\d+(?::\d+){0,2})\Z")
_OPTION = re.compile(r"[a-z][a-z0-9-]*\Z")
_DECIDED = {
    "nodes": "nodes", "ntasks": "gpus_per_node", "ntasks-per-node": "gpus_per_node", "gpus": "gpus_per_node",
    "gpus-per-node": "gpus_per_node", "gres": "gpus_per_node", "partition": "partition", "time": "time",
    "account": "account", "qos": "qos", "constraint": "constraint", "mem": "mem", "exclusive": "exclusive",
    "cpus-per-task": "cpus_per_task", "signal": "signal_before",
}  # fmt: skip
_OWN = ("dependency", "hold", "parsable", "job-name", "output", "error", "open-mode", "requeue", "no-requeue", "array",
        "export", "export-file", "wait", "wrap", "test-only", "kill-on-invalid-dep", "comment", "quiet")  # fmt: skip


class SlurmLaunch(PlanModel):
    """``launch.slurm``: what a job asks the cluster for. The cluster's own default stands where a key is not given."""

    nodes: Count = 1
    """The number of nodes of a job."""
    gpus_per_node: Count = 8
    """The number of ranks on each node, one for each GPU."""
    cpus_per_task: Count | None = None
    """The number of cores of each rank."""
    partition: Word | None = None
    """The partition that the jobs run in."""
    time: Time | None = None
    """The time limit of a job, as "minutes", "hours:minutes:seconds" or "days-hours". The job of a path that needs
    longer is requeued."""
    account: Word | None = None
    """The account that the jobs are charged to."""
    qos: Word | None = None
    """The quality of service of the jobs."""
    constraint: Word | None = None
    """The features that the nodes must have."""
    mem: Word | None = None
    """The memory on each node, as `sbatch --mem` takes it. "0" asks for all of it."""
    exclusive: bool = False
    """Whether a job gets whole nodes, which it shares with no other job."""
    container: Word | None = None
    """The container image that paths run in. By default they run on the node itself."""
    container_runtime: Literal["pyxis", "apptainer"] = "pyxis"
    """The program that starts the container."""
    mounts: tuple[Mount, ...] = ()
    """Folders that are mounted into the container, besides those that the plan names elsewhere."""
    site: FilePath | None = None
    """A copy of slurm/site.sh with the set-up that a shell of your site needs."""
    signal_before: Annotated[int, Field(ge=1, le=65535)] = 300
    """How many seconds before the time limit a job is told to save and stop."""
    stop_timeout: Annotated[float, Field(gt=0.0)] | None = None
    """After a job was told to save and stop, the number of seconds without any progress after which its ranks are
    killed, as `launch.local.stop_timeout` and with the same default. They are also killed if they still run shortly
    before the time limit: Slurm would end the job there, and not requeue it."""
    max_requeues: Annotated[int, Field(ge=0)] = 3
    """The number of restarts in a row without a new checkpoint after which a path is given up."""
    options: dict[str, str | int | Literal[True]] = Field(default_factory=dict)
    """Further long options of sbatch, without the dashes. `true` stands for an option without a value."""

    @field_validator("options")
    @classmethod
    def _unknown_here(cls, value: dict[str, str | int | Literal[True]]) -> dict[str, str | int | Literal[True]]:
        for name, given in value.items():
            if name in _DECIDED:
                raise ValueError(f"{name} has a key of its own; give launch.slurm.{_DECIDED[name]}")
            if name in _OWN:
                raise ValueError(f"{name} is decided by lrps submit; remove it")
            if not _OPTION.match(name) or not str(given).isprintable():
                raise ValueError(f"{name!r} is not a long option of sbatch with a plain value; write it without dashes")
        return value

    @model_validator(mode="after")
    def _time_to_save(self) -> "SlurmLaunch":
        limit = seconds_of(self.time) if self.time else None
        if limit is not None and limit <= self.signal_before:
            raise ValueError(
                f"time {self.time} is {limit} s, and signal_before {self.signal_before} s would end every job at once; "
                "raise time, or lower signal_before"
            )
        return self


def seconds_of(text: str) -> int:
    """Return a time of sbatch(1) in seconds; 0 if it is not a time.

    With days it is ``days-hours[:minutes[:seconds]]``, else ``minutes[:seconds]`` or ``hours:minutes:seconds``.
    """
    match = _TIME.match(text)
    if not match:
        return 0
    fields = [int(field) for field in match["fields"].split(":")]
    if match["days"] is None and len(fields) < 3:
        fields = [0, *fields]
    hours, minutes, seconds = [*fields, 0, 0][:3]
    return ((int(match["days"] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
