"""A stand-in for Megatron-Bridge where no wheel of it is at hand: its signatures, and the order of its loop's moments.

Everything that trains is Megatron-Core's own. ``test_signatures.py`` compares these signatures with Bridge's source.
``wheels.py`` runs Bridge's own loop; this one is for the tests that must run everywhere.
"""

import importlib
import os
import random
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.core import dist_checkpointing, mpu, tensor_parallel
from megatron.core.distributed import DistributedDataParallelConfig, finalize_model_grads
from megatron.core.num_microbatches_calculator import get_num_microbatches, init_num_microbatches_calculator
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.rerun_state_machine import initialize_rerun_state_machine
from megatron.training import config as core

from tests.bridge.stand_in_config import (
    CallbackContext,
    CheckpointConfig,
    ConfigContainer,
    DatasetBuildContext,
    DatasetProvider,
    DistributedSignalHandler,
    GlobalState,
    GPTDatasetConfig,
    TrainingConfig,
    TrainState,
    all_gather_item,
    normalize_callbacks,
)

_TOKENIZER: list[Any] = []


# megatron.bridge.training.checkpointing


@dataclass
class CheckpointSaveContext:
    state: Any
    model: list[Any]
    optimizer: Any
    opt_param_scheduler: Any
    num_floating_point_operations_so_far: int
    train_data_iterator: Any = None
    non_persistent_ckpt: bool = False
    pg_collection: Any = None
    module_name: str | None = None


@dataclass
class CheckpointLoadContext:
    state: Any
    model: list[Any]
    optimizer: Any
    opt_param_scheduler: Any
    strict: bool = True
    skip_load_to_model_and_opt: bool = False
    pg_collection: Any = None
    module_name: str | None = None


class DefaultCheckpointManager:
    def __init__(self, checkpoint_config: CheckpointConfig) -> None:
        self.checkpoint_config = checkpoint_config

    def save(self, ctx: CheckpointSaveContext, callback_manager: Any) -> None:
        state, save = ctx.state.train_state, Path(self.checkpoint_config.save or "")
        folder = save / f"iter_{state.step:07d}"
        if torch.distributed.get_rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
        torch.distributed.barrier()
        saved = _states(ctx.model, ctx.optimizer, ctx.opt_param_scheduler, loading=False)
        dist_checkpointing.save({**saved, "iteration": state.step}, str(folder))
        torch.distributed.barrier()
        if "LRPS_CUT_SAVE" in os.environ:  # a test's crash: the tensors are there, and the position is not
            os._exit(9)
        if torch.distributed.get_rank() == 0:
            torch.save({name: torch.tensor(value) for name, value in vars(state).items()}, folder / "train_state.pt")
            shutil.copy(folder / "train_state.pt", save / "latest_train_state.pt")
            (save / "latest_checkpointed_iteration.txt").write_text(str(state.step))
            (folder / "run_config.yaml").write_text("model: {}\n")
        torch.distributed.barrier()
        _fire(callback_manager, "on_checkpoint_save", CallbackContext(state=ctx.state, model=ctx.model))

    def load(self, ctx: CheckpointLoadContext) -> tuple[int, int]:
        folder = self.checkpoint_config.load
        wanted = _states(ctx.model, ctx.optimizer, ctx.opt_param_scheduler, loading=True)
        loaded = dist_checkpointing.load(wanted, folder)
        position = torch.load(f"{folder}/train_state.pt", weights_only=True)
        ctx.state.train_state = TrainState(**{name: value.item() for name, value in position.items()})
        ctx.model[0].module.module.load_state_dict(loaded["model"])
        ctx.optimizer.load_state_dict(loaded["optimizer"])
        ctx.opt_param_scheduler.load_state_dict(loaded["opt_param_scheduler"])
        tensor_parallel.get_cuda_rng_tracker().set_states(loaded["rng_tracker_states"])
        return ctx.state.train_state.step, 0

    def finalize_async_saves(self, state: GlobalState, blocking: bool = False, terminate: bool = False) -> None: ...


def create_checkpoint_manager(checkpoint_config: CheckpointConfig) -> Any:
    target = checkpoint_config.custom_manager_class or ""
    assert target.startswith(tuple(_ALLOWED)), f"{target} is not in the allowlist"
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)(checkpoint_config)


def _states(model: list[Any], optimizer: Any, scheduler: Any, *, loading: bool) -> dict[str, Any]:
    metadata = {"distrib_optim_sharding_type": "dp_reshardable"}
    states = {"checkpoint_version": 3.0, "model": model[0].module.module.sharded_state_dict(metadata=metadata)}
    states["optimizer"] = optimizer.sharded_state_dict(states, is_loading=loading, metadata=metadata)
    states["opt_param_scheduler"] = scheduler.state_dict()
    states["rng_tracker_states"] = tensor_parallel.get_cuda_rng_tracker().get_states()
    return states


# megatron.bridge.utils.instantiate_utils

_ALLOWED = {"megatron."}


def register_allowed_target_prefix(prefix: str) -> None:
    _ALLOWED.add(prefix)


# megatron.bridge.training.pretrain and what it calls


def pretrain(
    config: ConfigContainer, forward_step_func: Callable[..., Any], callbacks: list[Any] | None = None
) -> None:
    state, manager = GlobalState(), normalize_callbacks(callbacks)
    state.cfg, state.signal_handler = config, DistributedSignalHandler(config.train.exit_signal)
    _connect(config)
    checkpoints = create_checkpoint_manager(config.checkpoint)
    model = config.model.provide_distributed_model(config.ddp)
    optimizer = get_megatron_optimizer(config.optimizer, model)
    scheduler = _get_scheduler(config.optimizer, config.scheduler, optimizer)
    if config.checkpoint.load is not None and Path(config.checkpoint.load, ".metadata").exists():
        checkpoints.load(CheckpointLoadContext(state, model, optimizer, scheduler))
    config.model.finalize_model_grads_func, config.model.grad_scale_func = finalize_model_grads, optimizer.scale_loss
    size = config.train.global_batch_size or 0
    context = DatasetBuildContext(config.train.train_iters * size, 0, 0, _TOKENIZER[0])
    train_set, _, _ = config.dataset.build_datasets(context)
    _train(
        forward_step_func, model, optimizer, scheduler, _batches(train_set, state, config), state, checkpoints, manager
    )


def _train(
    step: Any, model: Any, optimizer: Any, scheduler: Any, data: Any, state: Any, checkpoints: Any, manager: Any
) -> None:
    config, seen = state.cfg, {"state": state, "model": model, "optimizer": optimizer, "scheduler": scheduler}
    run = get_forward_backward_func()
    model[0].train()
    _fire(manager, "on_train_start", CallbackContext(**seen))
    while state.train_state.step < config.train.train_iters:
        checkpoints.finalize_async_saves(state=state, blocking=False)
        _fire(manager, "on_train_step_start", CallbackContext(**seen))
        model[0].zero_grad_buffer()
        optimizer.zero_grad()
        losses = run(
            forward_step_func=step, data_iterator=data, model=model, num_microbatches=get_num_microbatches(),
            seq_length=config.model.seq_length, micro_batch_size=config.train.micro_batch_size, forward_only=False,
        )  # fmt: skip
        ok, norm, _ = optimizer.step()
        scheduler.step(increment=config.train.global_batch_size)
        sums = torch.vstack([each["lm loss"] for each in losses]).sum(dim=0)
        figures = CallbackContext(**seen, loss_dict={"lm loss": sums[0] / sums[1]}, grad_norm=norm, skipped_iter=not ok)
        _fire(manager, "on_train_step_end", figures)
        state.train_state.step += 1
        state.train_state.consumed_train_samples += config.train.global_batch_size
        if _checkpoint_and_decide_exit(state, checkpoints, manager, model, optimizer, scheduler):
            checkpoints.finalize_async_saves(state=state, blocking=True, terminate=True)
            sys.exit(0)
    checkpoints.finalize_async_saves(state=state, blocking=True, terminate=True)
    _fire(manager, "on_train_end", CallbackContext(**seen))


def _checkpoint_and_decide_exit(state: Any, checkpoints: Any, manager: Any, *trained: Any) -> bool:
    config, step = state.cfg, state.train_state.step

    def save() -> None:
        checkpoints.save(CheckpointSaveContext(state, *trained, 0), manager)

    if config.train.exit_signal_handler and any(state.signal_handler.signals_received()):
        save()
        return True
    if config.checkpoint.save_interval and step % config.checkpoint.save_interval == 0:
        save()
    if config.train.exit_interval and step % config.train.exit_interval == 0:
        save()
        return True
    return False


def _get_scheduler(optimizer_config: OptimizerConfig, scheduler_config: core.SchedulerConfig, optimizer: Any) -> Any:
    return OptimizerParamScheduler(
        optimizer, init_lr=0.0, max_lr=optimizer_config.lr, min_lr=optimizer_config.min_lr, lr_warmup_steps=0,
        lr_decay_steps=1000, lr_decay_style=scheduler_config.lr_decay_style,
        start_wd=scheduler_config.start_weight_decay, end_wd=scheduler_config.end_weight_decay,
        wd_incr_steps=1000, wd_incr_style="constant",
    )  # fmt: skip


def _connect(config: ConfigContainer) -> None:
    torch.distributed.init_process_group("gloo")
    config.data_parallel_size = torch.distributed.get_world_size()
    sizes = (config.train.global_batch_size, config.train.micro_batch_size, config.data_parallel_size)
    init_num_microbatches_calculator(torch.distributed.get_rank(), None, *sizes)
    initialize_rerun_state_machine()
    mpu.initialize_model_parallel()
    config.model.finalize()
    random.seed(config.rng.seed)
    np.random.seed(config.rng.seed)
    torch.manual_seed(config.rng.seed)
    tensor_parallel.model_parallel_cuda_manual_seed(config.rng.seed)


def _batches(train_set: Any, state: Any, config: Any) -> Iterator[dict[str, torch.Tensor]]:
    micro, ranks, rank = config.train.micro_batch_size, config.data_parallel_size, torch.distributed.get_rank()
    for first in range(state.train_state.consumed_train_samples, len(train_set), micro * ranks):
        samples = [train_set[first + rank * micro + each] for each in range(micro)]
        yield torch.utils.data.default_collate(samples)


def _fire(manager: Any, event: str, context: CallbackContext) -> None:
    for callback in manager:
        getattr(callback, event, lambda _: None)(context)


_PLACES = {
    "package_info": {"__version__": "0.6.2"},
    "training.config": (
        *(TrainingConfig, CheckpointConfig, DatasetProvider, GPTDatasetConfig, ConfigContainer, OptimizerConfig),
        *(DistributedDataParallelConfig, core.ValidationConfig, core.SchedulerConfig, core.LoggerConfig),
        *(core.TokenizerConfig, core.DistributedInitConfig, core.RNGConfig),
    ),
    "training.callbacks": (CallbackContext, normalize_callbacks),
    "training.checkpointing": (
        *(CheckpointSaveContext, CheckpointLoadContext, DefaultCheckpointManager, create_checkpoint_manager),
    ),
    "training.utils.sig_utils": (all_gather_item, DistributedSignalHandler),
    "training.state": (TrainState, GlobalState),
    "training.optim": (_get_scheduler,),
    "training.pretrain": (pretrain,),
    "utils.instantiate_utils": (register_allowed_target_prefix,),
}
"""Module of Bridge -> what stands in for it."""


def use(tokenizer: Any) -> None:
    """Put the stand-in in the place of ``megatron.bridge`` in this process.

    Args:
        tokenizer: The one that data sets are built with.
    """
    _TOKENIZER[:] = [tokenizer]
    import megatron

    for place, held in _PLACES.items():
        name = "megatron.bridge"
        for part in ["", *place.split(".")]:
            owner, name = sys.modules.get(name.rpartition(".")[0], megatron), f"{name}.{part}" if part else name
            owner = sys.modules.get(name.rpartition(".")[0], megatron)
            module = sys.modules.setdefault(name, types.ModuleType(name))
            module.__path__ = []
            setattr(owner, name.rpartition(".")[2], module)
        named = held if isinstance(held, dict) else {each.__name__: each for each in held}
        vars(module).update(named)
