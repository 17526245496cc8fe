"""The timeline: windows of training samples, chained in one order that no path's length changes.

Megatron orders a data set by the number of samples asked of it, so a ``--train-iters`` that grows across an
epoch's end reshuffles what a path has not read yet. Here every window is a data set of its own fixed number
of samples, and a path reads the chain of them: main and branch read the same samples at the same positions.
"""

import bisect
import itertools
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.utils import Split

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath, Tree, Window
from megatron_lrps.plan.data_files import validation_sets, window_blend
from megatron_lrps.plan.window_samples import Interleaved, portions_of
from megatron_lrps.training.sample_order import Chained, Mixed, replay_seed


class Samples(Protocol):
    """A data set by index."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Any]: ...


@dataclass(frozen=True)
class WindowSamples:
    """One window's part of the timeline.

    Attributes:
        version: The version that adds it.
        length: Samples it adds, fixed for ever.
        samples: Its data set, or None where this path has already passed it.
    """

    version: str
    length: int
    samples: Samples | None


class WithReplay:
    """A window's samples where it replays earlier ones: its own, and theirs spread evenly among them.

    Args:
        parts: Data sets, the window's own first.
        counts: How many samples each gives; a data set may be longer.
    """

    def __init__(self, parts: Sequence[Samples], counts: Sequence[int]) -> None:
        self.parts = tuple(parts)
        self.spread = Interleaved(tuple(counts))

    def __len__(self) -> int:
        return sum(self.spread.counts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, sample = self.spread.locate(index)
        return self.parts[part][sample]


class Timeline(torch.utils.data.Dataset[dict[str, Any]]):
    """The samples of a path by position.

    Args:
        windows: In the timeline's order.
        order: Which sample is read at a position.
    """

    def __init__(self, windows: Sequence[WindowSamples], order: Chained | Mixed) -> None:
        self.windows = tuple(windows)
        self.order = order
        self._ends = list(itertools.accumulate(window.length for window in self.windows))
        if order.length != self._ends[-1]:
            raise ValueError(f"the order has {order.length} samples, the windows have {self._ends[-1]}")

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, position: int) -> tuple[int, int]:
        """(window's index, sample in it) that is read at ``position``."""
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is outside of the timeline's {len(self)} samples")
        sample = self.order.sample(position)
        index = bisect.bisect_right(self._ends, sample)
        return index, sample - (self._ends[index - 1] if index else 0)

    def __getitem__(self, position: int) -> dict[str, Any]:
        index, sample = self.locate(position)
        window = self.windows[index]
        if window.samples is None:
            raise IndexError(f"position {position} lies in window {window.version}, which this path has passed")
        return window.samples[sample]


class Filled(torch.utils.data.Dataset[dict[str, Any]]):
    """A validation set with samples behind its own of which no token counts.

    Args:
        samples: The set's own, of at least one.
        multiple: Its length is raised to a multiple of this.
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
    """The validation sets, where they are whole ones and this rank reads them, as ``Filled``."""
    if not (args.full_validation and isinstance(valid, list)):
        return valid
    return [None if each is None else Filled(each, args.eval_global_batch_size) for each in valid]


def require_distributed(provider: Any) -> None:
    """Refuse a script's data set provider that does not build on every rank; raises RefusedError."""
    if not getattr(provider, "is_distributed", False):
        raise RefusedError(
            "The script's data set provider builds on some ranks only, and a timeline is built on all.",
            "set `provider.is_distributed = True`, as Megatron-LM's pretrain_gpt.py does.",
        )


def build_datasets(
    tree: Tree,
    path: PlannedPath,
    args: Namespace,
    config: GPTDatasetConfig,
    is_built_on_rank: Callable[[], bool],
) -> tuple[Timeline | None, list[Any] | None, None]:
    """A path's training timeline and its windows' validation sets; to be called on every rank together.

    Args:
        tree: The plan's.
        path: The one that is trained.
        args: Megatron's; ``consumed_train_samples`` is the position it starts from.
        config: As for the stock data sets; its blend is replaced window by window.
        is_built_on_rank: Whether this rank reads data.

    Returns:
        (train, validation sets, no test set); None on ranks that read no data.
    """
    batch = tree.plan.global_batch_size
    position = args.consumed_train_samples
    windows: list[WindowSamples] = []
    for window in tree.windows_of(path):
        length = window.iterations * batch
        passed = path.order == "chained" and window.end * batch <= position
        samples = None if passed else _window(tree, window, config, is_built_on_rank)
        windows.append(WindowSamples(version=window.version.name, length=length, samples=samples))
    total = sum(window.length for window in windows)
    sets = list(validation_sets(tree, path).values())
    valid = [_whole(prefix, config, is_built_on_rank) for prefix in sets] or None
    if not is_built_on_rank():
        return None, [None] * len(sets) if sets else None, None
    order = Chained(total) if path.order == "chained" else Mixed(total, args.seed)
    return Timeline(windows, order), valid, None


def _window(tree: Tree, window: Window, config: GPTDatasetConfig, here: Callable[[], bool]) -> Samples | None:
    """A window's samples: its own data, and what it replays with another random seed than theirs."""
    key = f"versions.{window.version.name}"
    own, *replayed = portions_of(tree, window)
    samples = _draw(window_blend(tree, window), own.samples, key, config, here)
    if not replayed:
        return samples
    seed = replay_seed(config.random_seed, tree.windows.index(window))
    drawn = [samples]
    for part in replayed:
        blend = window_blend(tree, part.window)
        drawn.append(_draw(blend, part.samples, f"{key}.replay", config, here, random_seed=seed))
    parts = [each for each in drawn if each is not None]
    return WithReplay(parts, [part.samples for part in (own, *replayed)]) if parts else None


def _draw(
    blend: list[tuple[float, Path]],
    length: int,
    key: str,
    config: GPTDatasetConfig,
    here: Callable[[], bool],
    **changed: Any,
) -> Samples | None:
    """A blend drawn exactly ``length`` times; ``changed`` is set in the configuration."""
    prefixes, weights = [str(prefix) for _, prefix in blend], [weight for weight, _ in blend]
    blends = [(prefixes, weights if len(prefixes) > 1 else None), None, None]
    try:
        built = _build([length, 0, 0], blends, config, here, **changed)
    except IndexError as error:  # Megatron's bookkeeping of a few samples among many weights
        raise RefusedError(
            f"{key}: {length} samples are too few for the weights of {len(prefixes)} data sets: {error}",
            "make the version or its replay longer, give fewer data sets, or raise megatron.mid-level-dataset-surplus.",
        ) from None
    samples: Samples | None = built[Split.train.value]
    if samples is not None and len(samples) < length:
        raise RefusedError(
            f"{key}: its data give {len(samples)} samples, the window needs {length}.",
            "give more data, or make the version shorter.",
        )
    return samples


def _whole(prefix: Path, config: GPTDatasetConfig, here: Callable[[], bool]) -> Any:
    """One pass over a validation set."""
    return _build([0, None, 0], [None, ([str(prefix)], None), None], config, here)[Split.valid.value]


def _build(
    sizes: list[int | None],
    blends: list[tuple[list[str], list[float] | None] | None],
    config: Any,
    here: Any,
    **changed: Any,
) -> list[Any]:
    # A copy through the constructor, so that Megatron derives its split matrix from the new blend.
    fields = {name: getattr(config, name) for name, field in type(config).__dataclass_fields__.items() if field.init}
    fields.update(blend=None, blend_per_split=blends, split=None, **changed)
    builder = BlendedMegatronDatasetBuilder(GPTDataset, sizes, here, type(config)(**fields))
    return list(builder.build())
