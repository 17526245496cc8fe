"""``versions`` of the plan: the models to release, and the new data of each."""

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, model_validator

from megatron_lrps.plan.file_paths import base_of, within
from megatron_lrps.plan.keys.base import Count, FilePath, Name, PlanModel
from megatron_lrps.plan.keys.raw_text import Sources
from megatron_lrps.plan.keys.replay import Replay

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
