"""A study: one base plan trained in several variants and seeds, to be compared. Pure; training is the commands'."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError, model_validator

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.key_errors import explain
from megatron_lrps.plan.keys.base import Count, FilePath, Name, PlanModel
from megatron_lrps.plan.load import load_yaml, parse_mapping
from megatron_lrps.plan.model import Plan


class StudyData(PlanModel):
    """``data``: text of this machine, made on the first run; ``mixed`` gives every window the same distribution."""

    vocab_size: Count = 4096
    """The number of tokens in the vocabulary that is trained on the text."""
    window_characters: Count = 950_000
    """The number of characters in each window."""
    mixed: bool = True
    """Whether every window has the same distribution, a share of the pieces of every document. If not, each window has
    its own kind of text."""


class Study(PlanModel):
    """A study file. ``base`` is a plan's keys but campaign and save, or a plan file; each of ``runs`` is laid over it.

    ``data`` makes ``<save>/data``, whose v1 to v4 and tokenizer.model the base names; without it the base's data are
    the reader's own. Every run is trained once per seed, which is Megatron's ``--seed``.
    """

    study: Annotated[str, Field(min_length=1, max_length=200)]
    """The title of the study."""
    save: FilePath
    """The folder for everything that the study makes: data, plans, campaigns and results."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] = (1234,)
    """The values of Megatron's `--seed`. Each run is one campaign for each of them."""
    data: StudyData | None = None
    """The text to make. Without this section, the base names data of your own."""
    base: dict[str, Any] | FilePath
    """A plan file; or the keys of a plan without `campaign` and `save`, whose relative paths start at `save`."""
    runs: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    """The runs by their names. The keys of each are laid over the base, mapping by mapping."""
    baselines: dict[Name, Name] = Field(default_factory=dict)
    """Run -> the run whose PTFS and CPT it is compared with, seed by seed, because it has none of its own."""

    @model_validator(mode="after")
    def _are_runs(self) -> "Study":
        if unknown := [name for pair in self.baselines.items() for name in pair if name not in self.runs]:
            raise ValueError(f"baselines names {unknown[0]}, which is not a run; choose from {', '.join(self.runs)}")
        return self


class LoadedStudy(NamedTuple):
    """A study, read from its file.

    Attributes:
        study: The keys of the file.
        save: Its folder <save>, absolute.
        keys: The base plan's keys.
        start: The folder that relative paths in them start from: <save>, or that of the base's plan file.
    """

    study: Study
    save: Path
    keys: dict[str, Any]
    start: Path


class Trial(NamedTuple):
    """One run with one seed, and its plan."""

    run: str
    seed: int
    plan: Plan


def load_study(file: Path) -> LoadedStudy:
    """Read the study in ``file``.

    Raises:
        PlanError: naming the key, the value and the fix.
    """
    data, folder = load_yaml(file, "study"), file.resolve().parent
    try:
        study = Study.model_validate(data, context={"base": folder})
    except ValidationError as error:
        refusal = explain(error, Study, data)
        raise PlanError(f"{file}: {refusal.what}", refusal.fix) from None
    save = study.save
    if isinstance(study.base, Path):
        keys, start = load_yaml(study.base, "plan"), study.base.resolve().parent
        keys = {key: value for key, value in keys.items() if key not in ("campaign", "save")}
    else:
        keys, start = study.base, save
    for key in ("campaign", "save"):
        if key in keys or any(key in run for run in study.runs.values()):
            raise PlanError(f"{file}: {key} is given for a plan, and the study decides it.", "remove it.")
    return LoadedStudy(study, save, keys, start)


def trials_of(loaded: LoadedStudy, seeds: Sequence[int]) -> list[Trial]:
    """Return a plan for every run and seed. Raises PlanError."""
    trials = []
    for seed in seeds:
        for name, run in loaded.study.runs.items():
            merged = _over(loaded.keys, run)
            merged["megatron"] = {**merged.get("megatron", {}), "seed": seed}
            campaign = f"{name}-{seed}"
            try:
                plan = parse_mapping(
                    {**merged, "campaign": campaign, "save": str(loaded.save / campaign)}, base=loaded.start
                )
            except PlanError as error:
                raise PlanError(f"runs.{name}: {error.what}", error.fix) from None
            trials.append(Trial(name, seed, plan))
    return trials


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``own`` over ``base``: mappings key by key, other values replaced. A run with paths has no paradigm."""
    merged = dict(base)
    if "paths" in own:
        merged.pop("paradigm", None)
    for key, value in own.items():
        known = merged.get(key)
        merged[key] = _over(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged
