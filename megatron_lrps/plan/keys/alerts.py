"""``alerts`` of the plan: conditions on a path's metrics that alert somebody, and the command that does so."""

from typing import Annotated

from pydantic import Field, SerializationInfo, ValidationInfo, field_serializer, field_validator

from megatron_lrps.plan.file_paths import read_program, write_program
from megatron_lrps.plan.keys.base import Count, PlanModel


class Alerts(PlanModel):
    """``alerts``: rules on every path's loss, gradient norm and pace, judged while it trains; null switches a rule off.

    A rule looks at what the path has logged itself: at a fork it begins anew.
    """

    window: Annotated[int, Field(ge=8, le=10_000)] = 128
    """The number of logged iterations over which medians are taken. A rule judges once a quarter of them are there."""
    not_finite: bool = True
    """Raise an alert if the loss or the gradient norm is NaN or infinite."""
    skipped: Count | None = 25
    """Raise an alert if the optimizer has skipped this many iterations in a row. fp16 skips about twenty while its loss
    scale settles."""
    loss_spike: Annotated[float, Field(gt=0.0)] | None = 8.0
    """Raise an alert if the loss is above the window's median by this many robust standard deviations. One is 1.4826
    times the window's median absolute deviation, or 0.5 % of the median if that is more."""
    divergence: Annotated[float, Field(gt=0.0)] | None = 0.5
    """Raise an alert if the window's median loss is this many nats a token above the lowest one so far."""
    grad_norm: Annotated[float, Field(gt=1.0)] | None = 10.0
    """Raise an alert if the gradient norm is this many times the window's median."""
    stall: Annotated[float, Field(gt=1.0)] | None = 20.0
    """Raise an alert if no iteration ends for this many times the median of the latest ones. `lrps run` or
    the job's script judges it, and lets all ranks print their stacks to their log."""
    stall_least: Annotated[float, Field(gt=0.0)] = 300.0
    """The minimum number of seconds without an iteration that is a stall."""
    stall_pause: Annotated[float, Field(gt=0.0)] = 3600.0
    """The number of seconds after which a start, a save, one iteration of an evaluation, or the hashing of one file is
    a stall."""
    stall_ends: bool = False
    """Whether a stall ends the ranks: `lrps run` then ends with exit code 75, and a Slurm job is requeued. What was
    trained since the last save is lost."""
    straggler: Annotated[float, Field(gt=1.0)] | None = 2.0
    """Raise an alert if a rank, or most ranks of a node, need this many times the median of the other ranks of the same
    pipeline stage for their own part of an iteration, which is the time in which they wait for no other rank. It is
    judged where a stall is, and over the window. It sees ranks whose host waits for the others, as it does on gloo;
    ranks on GPUs need `log-straggler`."""
    cool_down: Annotated[float, Field(ge=0.0)] = 600.0
    """For this many seconds after an alert, further alerts of the same kind are counted and not raised."""
    hook: tuple[str, ...] = ()
    """A program and its arguments, which are run without a shell once for every alert. If the name of the program has a
    slash, it is looked for from the folder of the plan on."""
    hook_timeout: Annotated[float, Field(gt=0.0, le=3600.0)] = 30.0
    """The number of seconds after which the hook is killed."""

    @property
    def outside(self) -> bool:
        """Whether there is a rule that is judged outside of the ranks."""
        return self.stall is not None or self.straggler is not None

    @field_validator("hook")
    @classmethod
    def _program(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and not value[0].strip():
            raise ValueError("begins with no program; give a program and its arguments, each an item of the list")
        if any("\0" in item for item in value):
            raise ValueError("holds a null character; remove it")
        return read_program(value, info)

    @field_serializer("hook", when_used="json")
    def _written(self, value: tuple[str, ...], info: SerializationInfo) -> list[str]:
        return write_program(value, info)
