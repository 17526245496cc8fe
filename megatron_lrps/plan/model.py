"""The plan file as pydantic models: what each key means, and what is refused about a single value.

What concerns several keys together (forks, paths, the past) is decided in ``tree.py`` and ``accepted_plan.py``.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    SerializationInfo,
    ValidationInfo,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from megatron_lrps.plan.file_paths import base_of, read_flags, within, write_flags
from megatron_lrps.plan.keys.alerts import Alerts
from megatron_lrps.plan.keys.base import Count, FilePath, Name, PlanModel, or_shorter
from megatron_lrps.plan.keys.rates import Decay, LearningRate
from megatron_lrps.plan.keys.raw_text import Sources
from megatron_lrps.plan.keys.replay import Replay
from megatron_lrps.plan.keys.scoring_and_release import Evaluation, Promotion
from megatron_lrps.plan.keys.slurm_job import SlurmLaunch
from megatron_lrps.plan.keys.tokenizers import Tokenizer
from megatron_lrps.plan.keys.values import FLAG_NAME, flag_value
from megatron_lrps.schedule import continuous_shapes

Epochs = Annotated[float, Field(gt=0.0)]


class Version(PlanModel):
    """One of ``versions``: a model to release, and the window of new data that it adds."""

    name: Name
    """What it is called: also its branch, and its folder below `<save>/paths`."""
    iters: Count | None = None
    """The window's length in iterations. Give exactly one of `iters`, `samples` and `tokens`."""
    samples: Count | None = None
    """The window's length in samples (sequences), a multiple of `global_batch_size`."""
    tokens: Count | None = None
    """The window's length in tokens, rounded down to whole iterations."""
    train: tuple[tuple[Annotated[float, Field(gt=0.0)], FilePath], ...] = ()
    """[weight, index prefix] pairs: the window's samples are drawn from these indexes by weight. A prefix X means X.bin
    and X.idx. No index may be in two windows, or be validated on."""
    valid: dict[Name, FilePath] = Field(default_factory=dict)
    """Name -> index prefix of each validation set. Every later version is validated on it too; name it once."""
    sources: Sources = Field(default_factory=dict)
    """Index prefix -> the raw text that `lrps prepare` makes that index from. Each prefix is one of `train` or `valid`.
    Without sources an index must be there already."""
    replay: Replay | None = None
    """The share of the window's samples that is drawn again from earlier windows' data; none without it."""
    max_epochs: Epochs | None = None
    """The campaign's `max_epochs`, for this window alone."""
    decay: dict[str, Any] | None = None
    """Keys of `decay` that are otherwise for this version. With another shape only `alpha` is taken over from the
    campaign's."""

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
            raise ValueError(f"has {' and '.join(given) or 'no size'}; give exactly one of iters, samples, tokens")
        return self


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


class LocalLaunch(PlanModel):
    """``launch.local``: how `lrps run` starts a path on this machine."""

    processes: Count = 1
    """Ranks on this machine: on GPUs one for each, on a CPU one for each core at the most."""


class Launch(PlanModel):
    """``launch``: where paths run. The CPU backend is never chosen silently."""

    device: Literal["gpu", "cpu"] = "gpu"
    """`gpu`, or `cpu`: Megatron's own code over gloo, for development, tests and small models. It is refused where a
    GPU is present."""
    local: LocalLaunch = LocalLaunch()
    """How `lrps run` starts a path."""
    slurm: SlurmLaunch | None = None
    """What `lrps submit` asks the cluster for; without it there is nothing to submit."""


class Keep(PlanModel):
    """``keep``: what `lrps gc` leaves of each path beside ends, fork points and pins."""

    latest: Count = 2
    """How many of the latest checkpoints of each path stay."""
    every: Count | None = None
    """Checkpoints at multiples of so many iterations stay too."""
    released_forks: bool = True
    """Whether fork points of versions that are trained and released stay.

    Without them none can be trained anew, nor another version be cut off main there.
    """


Paradigm = Literal["lrps", "ptfs", "cpt", "cpt-rewarm"]
_VALUE = {
    "$comment": "value",
    "type": ["boolean", "number", "string", "array"],
    "items": {"type": ["number", "string"]},
    "minItems": 1,
}
FlagValue = bool | int | float | str | list[int | float | str]
Flags = dict[str, Annotated[FlagValue, BeforeValidator(flag_value), WithJsonSchema(_VALUE)]]
_FLAG_NAMES: dict[str, Any] = {"propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$"}}


class Plan(PlanModel):
    """A whole ``plan.yaml``. Relative paths in it started at the plan file's own folder (``base``)."""

    campaign: Name
    """What the campaign is called."""
    save: FilePath
    """The campaign's folder: checkpoints, logs, exports, scores and reports."""
    paradigm: tuple[Paradigm, ...] = Field(("lrps",), json_schema_extra=or_shorter({"enum": [*get_args(Paradigm)]}))
    """How versions are trained: `lrps` by path switching, `ptfs` each from scratch, `cpt` each from the one before,
    `cpt-rewarm` that with a warm-up again. A list trains several, for comparison."""
    lr: LearningRate = LearningRate()
    """The learning rates that all paths share."""
    decay: Decay = Decay()
    """How every branch decays. A version may have its own."""
    sequence_length: Count
    """Tokens of a sample. Megatron's `--seq-length`."""
    global_batch_size: Count
    """Samples of an iteration, over all ranks. It stays for the whole campaign."""
    versions: tuple[Version, ...] = Field(min_length=1)
    """The models to release, oldest first. The list may grow while the campaign runs."""
    max_epochs: Epochs = 4.0
    """How often an index may have been read at a window's end, earlier windows and replay included; more is refused.
    Repeats beyond four hardly help (arXiv 2305.16264)."""
    main: MainPath | None = None
    """A run that is there already, adopted as the main path's past."""
    paths: tuple[ExplicitPath, ...] = ()
    """Curves that no paradigm draws, in place of `paradigm`."""
    cuts: tuple[Cut, ...] = ()
    """Versions off main besides the planned ones; `lrps cut` adds them here."""
    tokenizer: Tokenizer | None = None
    """Which tokenizer all versions share."""
    megatron: Flags = Field(default_factory=dict, json_schema_extra=_FLAG_NAMES)
    """Megatron's own flags, without the leading dashes: model, layout, precision, optimizer. true is a switch, false
    leaves the flag out. docs/arguments.md lists them. What the plan decides by a key of its own is refused here."""
    script_flags: Flags = Field(default_factory=dict, json_schema_extra=_FLAG_NAMES)
    """Flags of your own training script that are not Megatron's, written like those. Nothing checks their spelling."""
    launch: Launch = Launch()
    """Where and how paths run."""
    keep: Keep = Keep()
    """What `lrps gc` leaves."""
    evaluate: Evaluation = Evaluation()
    """How `lrps eval` scores a version."""
    promote: Promotion | None = None
    """What it takes to release a version; with it `lrps submit` adds that as a job behind each branch."""
    alerts: Alerts = Alerts()
    """What in a path's own figures raises an alert while it trains."""
    base: Path = Field(default=Path(), exclude=True)

    @field_validator("paradigm", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        paradigms = [value] if isinstance(value, str) else value
        if isinstance(paradigms, list | tuple) and len(set(map(str, paradigms))) != len(paradigms):
            raise ValueError("names a paradigm twice")
        return paradigms

    @field_validator("megatron", "script_flags")
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
