"""``versions`` of the plan: the models to release, and the new data of each."""

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, model_validator

from megatron_lrps.plan.file_paths import base_of, within
from megatron_lrps.plan.keys.base import Count, FilePath, Name, PlanModel
from megatron_lrps.plan.keys.branch import BranchSettings
from megatron_lrps.plan.keys.raw_text import Sources
from megatron_lrps.plan.keys.replay import Replay

Epochs = Annotated[float, Field(gt=0.0)]


class Version(PlanModel):
    """One of ``versions``: a model to release, and the window of new data that it adds."""

    name: Name
    """The name of the version. Its branch has the same name, and so has the folder below `<save>/paths`."""
    iters: Count | None = None
    """The window's length in iterations. Give exactly one of `iters`, `samples` and `tokens`."""
    samples: Count | None = None
    """The window's length in samples (sequences), a multiple of `global_batch_size`. Where the batch rises, it
    must end with an iteration."""
    tokens: Count | None = None
    """The window's length in tokens, rounded down to whole iterations."""
    train: tuple[tuple[Annotated[float, Field(gt=0.0)], FilePath], ...] = ()
    """[weight, index prefix] pairs. The samples of the window are drawn from these indexes by weight. A prefix X stands
    for the files X.bin and X.idx. An index may be in one window only, and may not be validated on."""
    valid: dict[Name, FilePath] = Field(default_factory=dict)
    """The validation sets, each with a name and an index prefix. Every later version is validated on them too, so name
    each set once."""
    sources: Sources = Field(default_factory=dict)
    """The raw text from which `lrps prepare` makes an index, by the prefix of the index. Each prefix is one of `train`
    or `valid`. An index without a source must exist already."""
    replay: Replay | None = None
    """The share of the window's samples that is drawn again from the data of earlier windows. By default nothing is
    replayed."""
    max_epochs: Epochs | None = None
    """The value of `max_epochs` for this window alone."""
    decay: dict[str, Any] | None = None
    """The keys of `decay` that differ for this version. If the shape differs, only `alpha` is taken over from the
    campaign's `decay`."""
    merge: dict[str, Any] | bool | None = None
    """The keys of `merge` that differ for this version. `true` takes the campaign's `merge`, or its defaults, and
    `false` makes the version a branch."""
    branch: BranchSettings | None = None
    """The keys of `branch` that differ for this version."""

    @model_validator(mode="after")
    def _sources_of_indexes(self, info: ValidationInfo) -> "Version":
        indexes = {prefix for _, prefix in self.train} | set(self.valid.values())
        for prefix in self.sources:
            if prefix not in indexes:
                shown = within(prefix, base_of(info))
                raise ValueError(f"sources.{shown} is not an index of this version; name it under train or valid too")
        return self

    @model_validator(mode="after")
    def _one_size(self) -> "Version":
        given = [key for key in ("iters", "samples", "tokens") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"has {' and '.join(given) or 'no size'}; give exactly one of iters, samples, tokens")
        return self
