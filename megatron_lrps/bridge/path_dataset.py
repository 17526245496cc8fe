"""The plan's data in Bridge's loop: the timeline that the path reads, and its validation sets."""

import dataclasses
from argparse import Namespace
from typing import Any

from megatron.bridge.training.config import DatasetProvider
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig

from megatron_lrps.bridge.followed_path import FollowedPath
from megatron_lrps.bridge.sets_in_turn import InTurn
from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron.datasets import build_datasets

_LEFT_OUT = (
    "blend",
    "blend_per_split",
    "split",
    "tokenizer",
    "multiple_validation_sets",
    "full_validation",
    "sequences_per_dataset",
)
"""Fields of the script's dataset config that name its data, or that the windows' data decide."""
_NOT_OF_SAMPLES = (
    *("path_to_cache", "object_storage_cache_path", "num_dataset_builder_threads", "mmap_bin_files"),
    *("fast_cache_load", "defer_npy_index_mmap", "sequence_length", "random_seed"),
    *("data_parallel_size", "sequence_parallel_size", "context_parallel_size"),
)
"""Fields that change no sample, and those that have another name among Megatron's arguments."""
_LOADER = ("num_workers", "pin_memory", "persistent_workers")


class PathDataset(DatasetProvider):  # type: ignore[misc]
    """The data of the followed path, in place of the script's: ``config.dataset`` for Bridge.

    How samples are cut and masked is the script's: the fields of its GPTDatasetConfig are kept, without its data.

    Args:
        path: The followed path.
        given: The script's ``config.dataset``.

    Attributes:
        cut_by: The settings by which samples are cut and masked, as plain values.

    Raises:
        RefusedError: if that is no GPTDatasetConfig.
    """

    def __init__(self, path: FollowedPath, given: Any) -> None:
        if not isinstance(given, GPTDatasetConfig):
            raise RefusedError(
                f"config.dataset is a {type(given).__name__}, and a plan's windows are read as GPT pretraining data.",
                "give a GPTDatasetConfig; its data paths are replaced by the plan's.",
            )
        super().__init__(**{name: getattr(given, name) for name in _LOADER if hasattr(given, name)})
        self.dataloader_type = "single"
        self.seq_length = given.sequence_length
        self._path = path
        self._fields = {
            each.name: getattr(given, each.name)
            for each in dataclasses.fields(GPTDatasetConfig)
            if each.init and each.name not in _LEFT_OUT
        }
        self._fields["path_to_cache"] = self._fields.get("path_to_cache") or str(path.plan.folder / "cache")
        self.random_seed = given.random_seed
        self.path_to_cache = self._fields["path_to_cache"]
        self.cut_by = {
            name: value
            for name, value in self._fields.items()
            if name not in _NOT_OF_SAMPLES and isinstance(value, bool | int | float | str)
        }

    def to_cfg_dict(self) -> dict[str, Any]:
        """Return what Bridge writes into a checkpoint's run_config.yaml."""
        place = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"_target_": place, "path": self._path.name, "seq_length": self.seq_length, **self.cut_by}

    def build_datasets(self, context: Any) -> tuple[Any, Any, None]:
        """Build the path's timeline and its validation set, which all ranks do together; there is no test set.

        Args:
            context: Bridge's DatasetBuildContext: the samples wanted of each, and the tokenizer.
        """
        self._path.tell("reading")
        config = GPTDatasetConfig(**self._fields, tokenizer=context.tokenizer)
        args = Namespace(seed=self.random_seed, consumed_train_samples=self._path.position)
        planned = self._path.planned
        train, sets, _ = build_datasets(planned.tree, planned.path, args, config, lambda: True)
        valid = [each for each in sets or () if each is not None and len(each)]
        if not valid or not context.valid_samples:
            return train, None, None
        begin = self._path.validated
        return train, InTurn(valid, begin, context.test_samples, begin + context.valid_samples), None
