"""The data sets that a plan's path reads, built by Megatron: the timeline of its windows, and validation sets."""

import dataclasses
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.utils import Split

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath, Tree, Window
from megatron_lrps.plan.branch_data import data_key
from megatron_lrps.plan.data_files import validation_sets
from megatron_lrps.plan.window_samples import portions_of
from megatron_lrps.training.megatron.gpt_samples import GPTDataset
from megatron_lrps.training.timeline import (
    Chained,
    Mixed,
    Reordered,
    Samples,
    Timeline,
    WindowSamples,
    WithReplay,
    blend_seed,
    replay_seed,
)

Build = Callable[..., list[Any]]
"""``_build`` with this run's configuration and rank."""


class Filled(torch.utils.data.Dataset[dict[str, Any]]):
    """A validation set that is filled up with samples without counted tokens.

    Args:
        samples: The samples of the set itself, at least one.
        multiple: The length is raised to a multiple of this number.
    """

    index_split = Split.valid

    def __init__(self, samples: Any, multiple: int) -> None:
        self.samples = samples
        self._length = -(-len(samples) // multiple) * multiple

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index < len(self.samples):
            return self.samples[index]  # type: ignore[no-any-return]
        sample = self.samples[0]
        return {**sample, "loss_mask": torch.zeros_like(torch.as_tensor(sample["loss_mask"]))}


def filled(valid: Any, args: Namespace) -> Any:
    """Fill up the validation sets that are read whole, on the ranks that read them."""
    if not (args.full_validation and isinstance(valid, list)):
        return valid
    return [None if each is None else Filled(each, args.eval_global_batch_size) for each in valid]


def require_distributed(provider: Any) -> None:
    """Refuse a script's data set provider that does not build on every rank; raises RefusedError."""
    if not getattr(provider, "is_distributed", False):
        raise RefusedError(
            "The script's data set provider builds on some ranks only, but a timeline is built on all of them.",
            "set `provider.is_distributed = True`, as Megatron-LM's pretrain_gpt.py does.",
        )


def build_datasets(
    tree: Tree, path: PlannedPath, args: Namespace, config: GPTDatasetConfig, is_built_on_rank: Callable[[], bool]
) -> tuple[Timeline | None, list[Any] | None, None]:
    """Build a path's timeline and its windows' validation sets. All ranks call it together.

    Args:
        tree: The paths and windows of the plan.
        path: The path that is trained.
        args: Megatron's arguments; ``consumed_train_samples`` is the position that the path starts from.
        config: The configuration of the stock data sets; its blend is replaced window by window.
        is_built_on_rank: Whether this rank reads data.

    Returns:
        (train, validation sets, no test set); None on ranks that read no data.
    """
    batches = tree.batches
    position = args.consumed_train_samples
    build = partial(_build, config, is_built_on_rank)
    windows: list[WindowSamples] = []
    if path.order == "blend":
        length = tree.samples(path)
        samples = _draw(
            build,
            path.blend,
            length,
            data_key(tree.plan, path),
            random_seed=blend_seed(config.random_seed),
        )
        windows.append(WindowSamples(version=str(path.parent), length=batches.samples(path.fork), samples=None))
        windows.append(WindowSamples(version=path.name, length=length, samples=samples))
    for window in () if path.order == "blend" else tree.windows_of(path):
        length = batches.between(window.start, window.end)
        passed = path.order == "chained" and batches.samples(window.end) <= position
        samples = None if passed else _window(tree, window, build, config.random_seed)
        windows.append(WindowSamples(version=window.version.name, length=length, samples=samples))
    total = sum(window.length for window in windows)
    sets = list(validation_sets(tree, path).values())
    # Each validation set is read once as a whole.
    valid = [build([0, None, 0], [None, ([str(prefix)], None), None])[Split.valid.value] for prefix in sets] or None
    if not is_built_on_rank():
        return None, [None] * len(sets) if sets else None, None
    order = Mixed(total, args.seed) if path.order == "mixed" else Chained(total)
    if path.strand > 1:
        again = Reordered(order, batches.samples(path.fork), batches.samples(path.end), args.seed + path.strand)
        return Timeline(windows, again), valid, None
    return Timeline(windows, order), valid, None


def _window(tree: Tree, window: Window, build: Build, random_seed: int) -> Samples | None:
    """Return a window's samples: its own data, and replayed data with another random seed than theirs."""
    key = f"versions.{window.version.name}"
    own, *replayed = portions_of(tree, window)
    samples = _draw(build, window.version.train, own.samples, key)
    if not replayed:
        return samples
    seed = replay_seed(random_seed, tree.windows.index(window))
    again = [
        _draw(build, part.window.version.train, part.samples, f"{key}.replay", random_seed=seed) for part in replayed
    ]
    parts = [each for each in (samples, *again) if each is not None]
    return WithReplay(parts, [part.samples for part in (own, *replayed)]) if parts else None


def _draw(build: Build, blend: Sequence[tuple[float, Path]], length: int, key: str, **changed: Any) -> Samples | None:
    """Draw a blend exactly ``length`` times; ``changed`` is set in the configuration."""
    prefixes, weights = [str(prefix) for _, prefix in blend], [weight for weight, _ in blend]
    blends = [(prefixes, weights if len(prefixes) > 1 else None), None, None]
    try:
        built = build([length, 0, 0], blends, **changed)
    except IndexError as error:  # Megatron's bookkeeping of a few samples among many weights
        raise RefusedError(
            f"{key}: {length} samples are too few for the weights of {len(prefixes)} data sets: {error}",
            "make the version or its replay longer, give fewer data sets, or raise megatron.mid-level-dataset-surplus.",
        ) from None
    samples: Samples | None = built[Split.train.value]
    if samples is not None and len(samples) < length:
        raise RefusedError(
            f"{key}: its data give {len(samples)} samples, but {length} are needed.",
            "give more data, or make the version shorter.",
        )
    return samples


def _build(config: Any, here: Any, sizes: list[int | None], blends: list[Any], **changed: Any) -> list[Any]:
    """Build train, validation and test sets of these sizes, by split, from each split's (prefixes, weights) or None."""
    # A copy through the constructor, so that Megatron derives its split matrix from the new blend.
    config = dataclasses.replace(config, blend=None, blend_per_split=blends, split=None, **changed)
    return list(BlendedMegatronDatasetBuilder(GPTDataset, sizes, here, config).build())
