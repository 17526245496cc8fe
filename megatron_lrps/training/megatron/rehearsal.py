"""Evaluates a pipeline stage once with Megatron's own code, without other ranks and without the model's arithmetic.

For ``model_shards``: data loaders, the number of iterations, the schedule and the sending between stages are
Megatron's and the plugin's, as in a job; what a stage computes and receives is not checked.
"""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from megatron.core import mpu, rerun_state_machine
from megatron.core.datasets.utils import Split
from megatron.core.utils import get_attr_wrapped_model, get_model_config
from megatron.training import global_vars, training

from megatron_lrps.training.megatron import datasets, gpt, whole_validation


class _Set(torch.utils.data.Dataset[dict[str, Any]]):
    """A validation set of three samples of one token."""

    index_split = Split.valid

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"tokens": torch.zeros(1), "loss_mask": torch.ones(1)}


def rehearse_evaluation(args: Namespace, chunks: Sequence[Any]) -> None:
    """Evaluate one set on this rank's stage; it raises what a job would raise.

    Args:
        args: Megatron's arguments, validated. The parallel state is that of this rank, over a fake backend.
        chunks: The stage's parts of the model, one for each virtual stage.
    """
    own = {"validation_set_names": None, "iteration": 0, "skip_train": True}
    args = Namespace(**{**vars(args), **own})
    global_vars.unset_global_variables()
    global_vars.set_args(args)
    global_vars._set_timers(args)
    rerun_state_machine.initialize_rerun_state_machine()
    try:
        built = [_iterators(args, stage) for stage in (range(len(chunks)) if len(chunks) > 1 else (None,))]
        # Rank 0 is not there to tell a stage without data how many iterations it counts.
        args.eval_iters = [1 if count == 0 else count for count in args.eval_iters]
        iterators = built if len(chunks) > 1 else built[0]
        found, model = whole_validation.by_set(args, iterators), list(chunks)
        given = "the rehearsal", _step, found, model, 0, None, get_model_config(model[0])
        training.evaluate_and_print_results(*given, write_to_tensorboard=False)
    finally:
        rerun_state_machine.destroy_rerun_state_machine()
        global_vars.unset_global_variables()


def _iterators(args: Namespace, stage: int | None) -> Any:
    """Return the validation sets' iterators of a virtual stage."""

    def provide(samples: Sequence[int | None]) -> tuple[None, list[Any] | None, None]:
        valid = [_Set() if gpt.is_dataset_built_on_rank(stage) else None]
        return None, datasets.filled(valid, args), None

    provide.is_distributed = True  # type: ignore[attr-defined]
    return whole_validation.iterators(args, partial(training.build_train_valid_test_data_iterators, provide))[1]


def _step(data: Iterator[Any] | None, model: Any) -> tuple[torch.Tensor, Callable[[torch.Tensor], Any]]:
    """Act as ``gpt.forward_step``: read a micro-batch if this stage does, and return the next stage's input."""
    args, stage = global_vars.get_args(), get_attr_wrapped_model(model, "vp_stage")
    mask = torch.ones(1)
    if gpt.is_dataset_built_on_rank(stage):
        assert data is not None
        mask = next(data)["loss_mask"]
    if mpu.is_pipeline_last_stage(ignore_virtual=stage is None, vp_stage=stage):
        return torch.zeros_like(mask), partial(gpt.loss_func, mask)
    length = args.seq_length // args.context_parallel_size
    if args.sequence_parallel:
        length //= args.tensor_model_parallel_size
    config = get_model_config(model)
    shape = length, args.eval_micro_batch_size, args.hidden_size
    return torch.empty(shape, dtype=config.pipeline_dtype), partial(gpt.loss_func, mask)
