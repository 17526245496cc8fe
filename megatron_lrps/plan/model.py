"""The plan file as pydantic models: what each key means, and what is refused about a single value.

What concerns several keys together (forks, paths, the past) is decided in ``tree.py`` and ``accepted_plan.py``.
"""

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import (
    Field,
    SerializationInfo,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from megatron_lrps.plan.batch_schedule import BATCH_FLAGS, batch_flags, batches_by_flags
from megatron_lrps.plan.file_paths import read_flags, write_flags
from megatron_lrps.plan.keys.alerts import Alerts
from megatron_lrps.plan.keys.base import Count, FilePath, Name, PlanModel, or_shorter
from megatron_lrps.plan.keys.branch import BranchSettings
from megatron_lrps.plan.keys.flag_values import FLAG_NAMES, Flags, FlagValue
from megatron_lrps.plan.keys.launch_and_keep import Keep, Launch
from megatron_lrps.plan.keys.merging import Merge
from megatron_lrps.plan.keys.paths_and_cuts import Cut, ExplicitPath, MainPath
from megatron_lrps.plan.keys.rates import Decay, LearningRate
from megatron_lrps.plan.keys.scoring_and_release import Evaluation, Promotion
from megatron_lrps.plan.keys.tokenizers import Tokenizer
from megatron_lrps.plan.keys.trackers import Trackers
from megatron_lrps.plan.keys.values import FLAG_NAME
from megatron_lrps.plan.keys.versions import Epochs, Version
from megatron_lrps.schedule.batches import Batches

Paradigm = Literal["lrps", "ptfs", "ptfs-merged", "cpt", "cpt-rewarm"]


class Plan(PlanModel):
    """A whole ``plan.yaml``. Relative paths in it started at the plan file's own folder (``base``)."""

    campaign: Name
    """The name of the campaign."""
    save: FilePath
    """The campaign's folder: checkpoints, logs, exports, scores and reports."""
    paradigm: tuple[Paradigm, ...] = Field(("lrps",), json_schema_extra=or_shorter({"enum": [*get_args(Paradigm)]}))
    """How versions are trained. `lrps` trains them by path switching, `ptfs` trains each from scratch, `cpt` continues
    each from the one before, and `cpt-rewarm` does so with another warm-up. `ptfs-merged` trains each from scratch at
    the maximal rate, and merges it as `merge` says. A list trains several, for comparison."""
    lr: LearningRate = LearningRate()
    """The learning rates that all paths share."""
    decay: Decay = Decay()
    """How every branch decays. A version can have a `decay` of its own."""
    merge: Merge | None = None
    """Makes each version a weighted mean of checkpoints of the main path, in place of a branch. No iteration is trained
    for it. A version can have a `merge` of its own."""
    sequence_length: Count
    """The number of tokens in a sample: Megatron's `--seq-length`."""
    global_batch_size: Count
    """The number of samples in an iteration, over all ranks. It is the same for the whole campaign, unless the batch
    rises to it: by `rampup-batch-size` or `step-batch-size-schedule` under `megatron`. All paths follow these steps by
    the samples consumed, and no branch may decay across one."""
    versions: tuple[Version, ...] = Field(min_length=1)
    """The models to release, oldest first. The list may grow while the campaign runs."""
    max_epochs: Epochs = 4.0
    """How many times an index may have been read by the end of a window, with earlier windows and replay. A plan that
    reads it more often is refused. Repeats beyond four hardly help (arXiv 2305.16264)."""
    branch: BranchSettings = BranchSettings()
    """What branches of the paradigm lrps read while they decay. A version can have a `branch` of its own, and cuts have
    this one."""
    main: MainPath | None = None
    """An existing run of stock Megatron that the main path continues."""
    paths: tuple[ExplicitPath, ...] = ()
    """Learning-rate curves that no paradigm draws. They take the place of `paradigm`."""
    cuts: tuple[Cut, ...] = ()
    """Versions that fork off main besides the planned ones. `lrps cut` adds them here."""
    tokenizer: Tokenizer | None = None
    """The tokenizer that all versions share."""
    megatron: Flags = Field(default_factory=dict, json_schema_extra=FLAG_NAMES)
    """Megatron's own flags, without the leading dashes: the model, the parallel layout, the precision, the optimizer.
    `true` sets a switch, and `false` leaves the flag out. docs/arguments.md lists the flags. A flag that the plan
    decides by a key of its own is refused here."""
    script_flags: Flags = Field(default_factory=dict, json_schema_extra=FLAG_NAMES)
    """Flags of your own training script that are not Megatron's. They are written like those of `megatron`, and nothing
    checks their spelling."""
    launch: Launch = Launch()
    """Where and how paths run."""
    keep: Keep = Keep()
    """Which checkpoints `lrps gc` keeps."""
    evaluate: Evaluation = Evaluation()
    """How `lrps eval` scores a version."""
    promote: Promotion | None = None
    """How a version is released. If it is given, `lrps submit` adds a job behind each branch that releases the
    version."""
    alerts: Alerts = Alerts()
    """Which losses and gradient norms of a path raise an alert while it trains."""
    trackers: Trackers = Trackers()
    """Where the figures of every path go besides TensorBoard."""
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
                raise ValueError(f"{flag!r} is not a Megatron flag; write it without the leading dashes")
        return read_flags(value, info)

    @field_serializer("megatron", when_used="json")
    def _flags_written(self, value: dict[str, FlagValue], info: SerializationInfo) -> dict[str, FlagValue]:
        return write_flags(value, info)

    @property
    def folder(self) -> Path:
        """The campaign's folder, absolute (``save``)."""
        return self.save

    @property
    def batches(self) -> Batches:
        """The samples in each iteration, the same for all paths; raises PlanError for impossible ones."""
        return batches_by_flags(self.megatron, self.global_batch_size, self.sequence_length)

    def branch_of(self, name: str | None) -> BranchSettings:
        """The campaign's ``branch`` with what the version called ``name`` says itself put over it; a cut's as it is."""
        return self.branch.with_own(next((each.branch for each in self.versions if each.name == name), None))

    @property
    def lengths(self) -> set[int]:
        """All sequence lengths of the campaign: its own, and those of branches."""
        names = [None, *(version.name for version in self.versions)]
        return {self.sequence_length, *(self.of_branch(name).sequence_length for name in names)}

    def of_branch(self, name: str | None) -> "Plan":
        """The plan with the sequence length and the flags that the branch of the version ``name`` has itself."""
        own = self.branch_of(name)
        if own.sequence_length is None:
            return self
        batches, flags, positions = self.batches, {**self.megatron}, "max-position-embeddings"
        if batches.rises:  # at the same samples, though samples have other lengths
            flags = {flag: value for flag, value in flags.items() if flag not in BATCH_FLAGS}
            flags |= batch_flags(batches, own.sequence_length)
        if isinstance(given := flags.get(positions), int):
            flags[positions] = max(given, own.sequence_length)
        update = {"sequence_length": own.sequence_length, "megatron": {**flags, **own.megatron}}
        return self.model_copy(update=update)

    def decay_of(self, version: Version | Cut) -> Decay:
        """The campaign's decay with what the version (or cut) says itself put over it.

        Of a campaign's decay of another shape only alpha is taken: hold and steps belong to the shape.
        """
        given = self.decay.model_dump(exclude_unset=True)
        own = version.decay or {}
        if own.get("shape", self.decay.shape) != self.decay.shape:
            given = {key: value for key, value in given.items() if key == "alpha"}
        return Decay.model_validate({**given, **own})

    def merge_of(self, version: Version) -> Merge | None:
        """The campaign's merge with what the version says itself put over it; None if the version is a branch."""
        own = version.merge
        if own is False or (own is None and self.merge is None):
            return None
        given = self.merge.model_dump(exclude_unset=True) if self.merge else {}
        return Merge.model_validate(given | (own if isinstance(own, dict) else {}))
