"""The plan file as pydantic models: what each key means, and what is refused about a single value.

What concerns several keys together (forks, paths, the past) is decided in ``tree.py`` and ``growth.py``.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializationInfo,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from megatron_lrps.plan.alerts import Alerts
from megatron_lrps.plan.base import Count, FilePath, Name, PlanModel
from megatron_lrps.plan.file_paths import base_of, read_flags, within, write_flags
from megatron_lrps.plan.release import Evaluation, Promotion
from megatron_lrps.plan.replay import Replay
from megatron_lrps.plan.slurm import SlurmLaunch
from megatron_lrps.plan.sources import Sources
from megatron_lrps.plan.tokenizers import Tokenizer
from megatron_lrps.plan.values import FLAG_NAME, MAX_COUNT, flag_value
from megatron_lrps.schedule import BRANCH_STEPS, SHAPES, WHOLE_STEPS, DecaySpec

Share = Annotated[float, Field(gt=0.0, le=1.0)]
Epochs = Annotated[float, Field(gt=0.0)]
Steps = tuple[tuple[float, float], ...]


class LearningRate(PlanModel):
    """``lr``: one (max, min) pair for all paths, since Megatron makes it part of the optimizer's identity."""

    max: Annotated[float, Field(gt=0.0)] = 3.0e-4
    min: Annotated[float, Field(ge=0.0)] = 3.0e-5
    warmup_iters: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 0

    @model_validator(mode="after")
    def _ordered(self) -> "LearningRate":
        if self.min > self.max:
            raise ValueError(f"lr.min {self.min:g} is above lr.max {self.max:g}; exchange them")
        return self


class Decay(PlanModel):
    """``decay``: the shape, and alpha, the share of a version's own iterations that its branch decays over."""

    shape: str = "cosine"
    alpha: Share = 0.6
    hold: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    steps: Steps = WHOLE_STEPS
    branch_steps: Steps = BRANCH_STEPS

    @field_validator("shape")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in SHAPES:
            raise ValueError(f"is no decay shape; choose one of {', '.join(SHAPES)}")
        return value

    @field_validator("steps", "branch_steps")
    @classmethod
    def _falling(cls, value: Steps) -> Steps:
        shares = [share for share, _ in value]
        factors = [factor for _, factor in value]
        if not value or sorted(set(shares)) != shares or not all(0 <= share < 1 for share in shares):
            raise ValueError("are no steps; give (share, factor) pairs with rising shares in [0, 1)")
        if sorted(factors, reverse=True) != factors or not all(0 <= factor <= 1 for factor in factors):
            raise ValueError("are no steps; give (share, factor) pairs with falling factors in [0, 1]")
        return value

    @model_validator(mode="after")
    def _fitting(self) -> "Decay":
        stepped = self.shape == "multi-step"
        for key in ("hold",) if stepped else ("steps", "branch_steps"):
            if key in self.model_fields_set and getattr(self, key) is not None:
                raise ValueError(f"{key} is given, but the shape {self.shape} has none; remove it")
        return self

    @field_validator("branch_steps")
    @classmethod
    def _from_the_fork(cls, value: Steps) -> Steps:
        if value[0][0] != 0.0:
            raise ValueError("do not begin at the fork point; let the first share be 0")
        return value

    def spec(self) -> DecaySpec:
        """As the schedule builder takes it; ``knee`` explores for half of a whole schedule by default."""
        default = 0.5 if self.shape == "knee" else 0.0
        return DecaySpec(
            shape=self.shape,
            hold=default if self.hold is None else self.hold,
            whole_steps=self.steps,
            branch_steps=self.branch_steps,
        )


class Version(PlanModel):
    """One of ``versions``: a model to release, and the window of new data that it adds."""

    name: Name
    iters: Count | None = None
    samples: Count | None = None
    tokens: Count | None = None
    train: tuple[tuple[Annotated[float, Field(gt=0.0)], FilePath], ...] = ()
    valid: dict[Name, FilePath] = Field(default_factory=dict)
    sources: Sources = Field(default_factory=dict)
    replay: Replay | None = None
    max_epochs: Epochs | None = None
    decay: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _sources_of_indexes(self, info: ValidationInfo) -> "Version":
        indexes = {prefix for _, prefix in self.train} | set(self.valid.values())
        for prefix in self.sources:
            if prefix not in indexes:
                shown = within(prefix, base_of(info))
                raise ValueError(f"sources.{shown} is no index of this version's train or valid; name it there too")
        return self

    @model_validator(mode="after")
    def _one_size(self) -> "Version":
        given = [key for key in ("iters", "samples", "tokens") if getattr(self, key) is not None]
        if len(given) != 1:
            named = " and ".join(given) or "none of them"
            raise ValueError(f"version {self.name} has {named}; give exactly one of iters, samples, tokens")
        return self


class Piece(PlanModel):
    """One piece of an explicit path's schedule, from where the last one ended to the iteration ``until``."""

    kind: Literal["warmup", "hold", "cosine", "linear", "1-sqrt", "exponential", "factor", "rewarm"]
    until: Count | None = None
    factor: Annotated[float, Field(ge=0.0, le=1.0)] | None = None

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
    parent: Name | None = None
    fork: Count | None = None
    end: Count
    schedule: tuple[Piece, ...] = Field(min_length=1)
    order: Literal["chained", "mixed"] = "chained"
    version: Name | None = None

    @model_validator(mode="after")
    def _fork_and_parent(self) -> "ExplicitPath":
        if (self.parent is None) != (self.fork is None):
            raise ValueError(f"path {self.name} has parent {self.parent} and fork {self.fork}; give both or none")
        return self


class Cut(PlanModel):
    """One of ``cuts``: a version besides the planned ones, decayed off main from where it happened to be.

    It reads on in the timeline for ``iters`` iterations after ``fork``, and adds no window of its own.
    """

    name: Name
    fork: Count
    iters: Count
    decay: dict[str, Any] | None = None

    @field_validator("decay")
    @classmethod
    def _without_alpha(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and "alpha" in value:
            raise ValueError("has an alpha, but a cut's length is `iters`; remove alpha")
        return value


class LocalLaunch(PlanModel):
    """``launch.local``: how `lrps run` starts a path on this machine."""

    processes: Count = 1


class Launch(PlanModel):
    """``launch``: where paths run. ``device: cpu`` asks for the CPU backend; it is never chosen silently."""

    device: Literal["gpu", "cpu"] = "gpu"
    local: LocalLaunch = LocalLaunch()
    slurm: SlurmLaunch | None = None


class Keep(PlanModel):
    """``keep``: what `lrps gc` leaves of each path beside ends, fork points and pins; ``every`` in iterations."""

    latest: Count = 2
    every: Count | None = None


FlagValue = bool | int | float | str | list[int | float | str]


class Plan(PlanModel):
    """A whole ``plan.yaml``. Relative paths in it started at the plan file's own folder (``base``)."""

    campaign: Name
    save: FilePath
    paradigm: tuple[Literal["lrps", "ptfs", "cpt", "cpt-rewarm"], ...] = ("lrps",)
    lr: LearningRate = LearningRate()
    decay: Decay = Decay()
    sequence_length: Count
    global_batch_size: Count
    versions: tuple[Version, ...] = Field(min_length=1)
    max_epochs: Epochs = 4.0  # repeats beyond it hardly help: Muennighoff et al. 2023, arXiv 2305.16264
    paths: tuple[ExplicitPath, ...] = ()
    cuts: tuple[Cut, ...] = ()
    tokenizer: Tokenizer | None = None
    megatron: dict[str, Annotated[FlagValue, BeforeValidator(flag_value)]] = Field(default_factory=dict)
    launch: Launch = Launch()
    keep: Keep = Keep()
    evaluate: Evaluation = Evaluation()
    promote: Promotion | None = None
    alerts: Alerts = Alerts()
    base: Path = Field(default=Path(), exclude=True)

    @field_validator("paradigm", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        paradigms = [value] if isinstance(value, str) else value
        if isinstance(paradigms, list | tuple) and len(set(map(str, paradigms))) != len(paradigms):
            raise ValueError("names a paradigm twice")
        return paradigms

    @field_validator("megatron")
    @classmethod
    def _flags(cls, value: dict[str, FlagValue], info: ValidationInfo) -> dict[str, FlagValue]:
        for flag in value:
            if not FLAG_NAME.match(flag):
                raise ValueError(f"{flag!r} is no Megatron flag; write it without the leading dashes")
        return read_flags(value, info)

    @field_serializer("megatron", when_used="json")
    def _flags_written(self, value: dict[str, FlagValue], info: SerializationInfo) -> dict[str, FlagValue]:
        return write_flags(value, info)

    @property
    def folder(self) -> Path:
        """The campaign's folder, absolute (``save``)."""
        return self.save

    def decay_of(self, version: Version | Cut) -> Decay:
        """The campaign's decay with what the version (or cut) says itself put over it.

        Of a campaign's decay of another shape only alpha is taken: hold and steps belong to the shape.
        """
        given = self.decay.model_dump(exclude_unset=True)
        own = version.decay or {}
        if own.get("shape", self.decay.shape) != self.decay.shape:
            given = {key: value for key, value in given.items() if key == "alpha"}
        return Decay.model_validate({**given, **own})
