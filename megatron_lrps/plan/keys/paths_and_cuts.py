"""``main``, ``paths`` and ``cuts`` of the plan: an adopted main path, curves that the plan lists, versions besides."""

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
    """`warmup` rises to the maximum, `rewarm` does so again; `hold` stays; `factor` is a constant share of the maximum;
    the others decay to the minimum."""
    until: Count | None = None
    """The iteration where the piece ends. Only a last `hold` may do without: it never ends."""
    factor: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """For kind `factor`: the share of the maximal rate."""

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in _kinds():
            raise ValueError(f"is no kind of piece; choose one of {', '.join(_kinds())}")
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
    """What it is called: also its folder below `<save>/paths`."""
    parent: Name | None = None
    """The path that it forks off, listed before it. Without one it starts from scratch."""
    fork: Count | None = None
    """The parent's iteration after which it starts. Given with `parent`, and not without."""
    end: Count
    """Its last iteration, counted from the root's start."""
    schedule: tuple[Piece, ...] = Field(min_length=1)
    """Its pieces from the fork on, one after another; the last one reaches `end`."""
    order: Literal["chained", "mixed"] = "chained"
    """`chained` reads the windows one after another, `mixed` shuffles all samples up to `end`."""
    version: Name | None = None
    """The version that its end gives, if any."""

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
    """The iteration whose checkpoint main starts after. The windows' data follow on it: the first window begins there,
    and what the run itself has read is in none of them."""


class Cut(PlanModel):
    """One of ``cuts``: a version besides the planned ones, decayed off main from where it happened to be.

    It reads on in the timeline for ``iters`` iterations after ``fork``, and adds no window of its own.
    """

    name: Name
    """What it is called: also its branch, and its folder below `<save>/paths`."""
    fork: Count
    """The iteration of main that it forks off, after the warm-up."""
    iters: Count
    """Iterations of its decay."""
    decay: dict[str, Any] | None = None
    """Keys of `decay` that are otherwise for this cut, but `alpha`."""

    @field_validator("decay")
    @classmethod
    def _without_alpha(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and "alpha" in value:
            raise ValueError("has an alpha, but a cut's length is `iters`; remove alpha")
        return value
