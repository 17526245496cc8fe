"""A stand-in for Megatron-Bridge's config, callbacks and state, with their signatures; see ``stand_in.py``."""

import signal
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig as CoreGPTDatasetConfig
from megatron.core.distributed import DistributedDataParallelConfig
from megatron.core.optimizer import OptimizerConfig
from megatron.training import config as core

# megatron.bridge.training.config


@dataclass(kw_only=True)
class TrainingConfig(core.TrainingConfig):
    eval_iters: int | None = None
    eval_interval: int | None = None
    skip_train: bool | None = None


@dataclass(kw_only=True)
class CheckpointConfig(core.CheckpointConfig):
    custom_manager_class: str | None = None


@dataclass(kw_only=True)
class DataloaderConfig:
    dataloader_type: str | None = None
    num_workers: int = 2
    pin_memory: bool = True
    persistent_workers: bool = True

    def finalize(self) -> None: ...


@dataclass(frozen=True)
class DatasetBuildContext:
    train_samples: int
    valid_samples: int
    test_samples: int
    tokenizer: Any = None
    pg_collection: Any = None


@dataclass
class DatasetProvider(DataloaderConfig, ABC):
    @abstractmethod
    def build_datasets(self, context: DatasetBuildContext) -> tuple[Any, Any, Any]: ...


class GPTDatasetConfig(CoreGPTDatasetConfig):
    def __init__(
        self, seq_length: int, skip_getting_attention_mask_from_dataset: bool = True, **given: Any
    ) -> None:  # validated later
        loader = {
            name: given.pop(name) for name in ("num_workers", "pin_memory", "persistent_workers") if name in given
        }
        for each in fields(CoreGPTDatasetConfig):
            setattr(self, each.name, given.get(each.name, each.default))
        self.sequence_length = self.seq_length = seq_length
        self.__dict__ |= loader


@dataclass(kw_only=True)
class ConfigContainer:
    train: TrainingConfig
    model: Any
    optimizer: OptimizerConfig
    ddp: DistributedDataParallelConfig
    validation: core.ValidationConfig
    scheduler: core.SchedulerConfig
    dataset: Any
    logger: core.LoggerConfig
    tokenizer: core.TokenizerConfig
    checkpoint: CheckpointConfig
    dist: core.DistributedInitConfig
    rng: core.RNGConfig
    peft: Any = None
    inprocess_restart: Any = None
    data_parallel_size: int = field(init=False, default=1)


# megatron.bridge.training.callbacks


@dataclass
class CallbackContext:
    state: Any
    model: list[Any]
    user_state: dict[str, Any] = field(default_factory=dict)
    optimizer: Any = None
    scheduler: Any = None
    loss_dict: dict[str, Any] | None = None
    grad_norm: float | None = None
    skipped_iter: bool | None = None
    total_loss_dict: dict[str, Any] | None = None


def normalize_callbacks(callbacks: list[Any] | None) -> list[Any]:
    return list(callbacks or [])


# megatron.bridge.training.state


@dataclass
class TrainState:
    step: int = 0
    consumed_train_samples: int = 0
    skipped_train_samples: int = 0
    consumed_valid_samples: int = 0
    floating_point_operations_so_far: int = 0
    do_train: bool = False
    do_valid: bool = False
    do_test: bool = False


class GlobalState:
    def __init__(self) -> None:
        self.cfg: Any = None
        self.train_state = TrainState()
        self.signal_handler: Any = None
        self.async_calls_queue: Any = None


# megatron.bridge.training.utils.sig_utils


def all_gather_item(
    item: Any, dtype: torch.dtype, group: Any = None, async_op: bool = False, local_rank: int | None = None
) -> list[Any]:
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, item)
    return gathered


class DistributedSignalHandler:
    def __init__(self, sig: int = signal.SIGTERM) -> None:
        self.sig, self._signal_received = sig, False
        signal.signal(sig, lambda *_: setattr(self, "_signal_received", True))

    def signals_received(self) -> list[bool]:
        return all_gather_item(self._signal_received, dtype=torch.int32)
