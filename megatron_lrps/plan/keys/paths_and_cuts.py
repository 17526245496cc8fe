"""``main``, ``paths`` and ``cuts`` of the plan: an adopted main path, listed curves, additional versions."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from megatron_lrps.plan.keys.base import Count, FilePath, Name, PlanModel
from megatron_lrps.schedule import continuous_shapes


def _kinds() -> tuple[str, ...]:
    return ("warmup", "hold", *continuous_shapes(), "factor", "rewarm")


def _piece_kinds(schema: dict[str, Any]) -> None:
    schema["enum"] = [*_kinds()]


class Piece(PlanModel):
    """One piece of an explicit path's schedule, from where the last one ended to the iteration ``until``."""

    kind: Annotated[str, Field(json_schema_extra=_piece_kinds)]
    """What the learning rate does. `warmup` rises to the maximum, and `rewarm` rises to it again. `hold` stays there,
    `factor` is a constant share of the maximum, and the other kinds decay to the minimum."""
    until: Count | None = None
    """The iteration where the piece ends. Only the last piece may leave it out, if it is a `hold`: that one never
    ends."""
    factor: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The share of the maximal rate, for a piece of kind `factor`."""

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in _kinds():
            raise ValueError(f"is not a kind of piece; choose one of {', '.join(_kinds())}")
        return value

    @model_validator(mode="after")
    def _complete(self) -> "Piece":
        if self.until is None and self.kind != "hold":
            raise ValueError(f"a {self.kind} needs `until`, the iteration where it ends")
        if (self.factor is not None) != (self.kind == "factor"):
            raise ValueError(f"a {self.kind} has the factor {self.factor}; `factor` belongs to kind factor alone")
        return self


class ExplicitPath(PlanModel):
    """One of ``paths``, for curves that no paradigm draws: its parent, fork, end and pieces by iteration."""

    name: Name
    """The name of the path, and of its folder below `<save>/paths`."""
    parent: Name | None = None
    """The path that it forks off, which must be listed before it. A path without a parent starts from scratch."""
    fork: Count | None = None
    """The iteration of the parent after which it starts. It is given together with `parent`."""
    end: Count
    """Its last iteration, counted from the start of its first ancestor."""
    schedule: tuple[Piece, ...] = Field(min_length=1)
    """The pieces of its curve from the fork on, one after another. The last one reaches `end`."""
    order: Literal["chained", "mixed"] = "chained"
    """`chained` reads the windows one after another, `mixed` shuffles all samples up to `end`."""
    version: Name | None = None
    """The version that the end of the path gives. By default it gives none."""

    @model_validator(mode="after")
    def _fork_and_parent(self) -> "ExplicitPath":
        if (self.parent is None) != (self.fork is None):
            raise ValueError(f"has parent {self.parent} and fork {self.fork}; give both or none")
        return self


class MainPath(PlanModel):
    """``main``: a run of stock Megatron that the main path goes on from, in place of a start from scratch.

    It was trained with a constant learning rate after its warm-up, with this plan's `lr`, batch, model and tokenizer.
    """

    adopt: FilePath
    """The run's `--save` folder: it holds `iter_...` folders in format torch_dist. It is read, and never written to."""
    iteration: Count
    """The iteration of the checkpoint that main continues. The first window begins there, and the data that the run
    itself has read are in no window."""


class Cut(PlanModel):
    """One of ``cuts``: a version besides the planned ones, decayed off main from where it happened to be.

    It reads on in the timeline for ``iters`` iterations after ``fork``, and adds no window of its own.
    """

    name: Name
    """The name of the version. Its branch has the same name, and so has the folder below `<save>/paths`."""
    fork: Count
    """The iteration of main that it forks off. It lies after the warm-up."""
    iters: Count
    """The number of iterations over which it decays."""
    decay: dict[str, Any] | None = None
    """The keys of `decay` that differ for this cut. `alpha` is not among them."""

    @field_validator("decay")
    @classmethod
    def _without_alpha(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and "alpha" in value:
            raise ValueError("has an alpha, but a cut's length is `iters`; remove alpha")
        return value
