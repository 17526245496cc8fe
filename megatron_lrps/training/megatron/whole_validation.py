"""Whole validation sets on every parallel layout, with the same loss on each.

Megatron's ``--full-validation`` lets each stage that reads data count a set's micro-batches. A middle stage reads none
and would not know when the evaluation is over; a data-parallel rank with fewer samples begins again with its first
ones, which then count twice; and each virtual stage has a list of the sets, while Megatron looks for a set's list
of virtual stages. Here the sets are filled up with samples that do not count (``datasets.filled``), and all ranks are
told how many iterations each takes.
"""

import argparse
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import torch

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.parallel_layout import few_microbatches
from megatron_lrps.training.current_activity import CurrentActivity
from megatron_lrps.training.megatron.installed import installed_release
from megatron_lrps.training.megatron.numbered_sets import named_sets
from megatron_lrps.training.megatron.patching import Call

_VIRTUAL = (
    "num_layers_per_virtual_pipeline_stage",
    "num_virtual_stages_per_pipeline_rank",
    "pipeline_model_parallel_layout",
)


def add_validation_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of validation sets to the parser of a release that has none."""
    parser.add_argument("--validation-set-names", nargs="+", help="The names of the validation sets, in their order.")
    for flag in ("--eval-micro-batch-size", "--eval-global-batch-size"):
        parser.add_argument(flag, type=int, help="The batch of an evaluation; that of training by default.")


def size_evaluations(args: Namespace) -> None:
    """Give an evaluation the batch of training where nothing says another, as newer releases do themselves."""
    for size in ("micro_batch_size", "global_batch_size"):
        if getattr(args, f"eval_{size}", None) is None:
            setattr(args, f"eval_{size}", getattr(args, size))


def prepare_validation(args: Namespace) -> None:
    """Decide the batch of an evaluation over whole sets, before Megatron validates the arguments.

    Raises:
        RefusedError: for flags with which megatron-core 0.19 fails when it evaluates.
    """
    if not args.full_validation:
        return
    stages = args.pipeline_model_parallel_size
    virtual = [flag for flag in _VIRTUAL if getattr(args, flag) is not None]
    if not args.multiple_validation_sets and (virtual or stages > 2 or args.tensor_model_parallel_size > 1):
        raise RefusedError(
            "--full-validation is given without --multiple-validation-sets, and this layout has ranks that read no "
            "data: megatron-core 0.19 breaks off there.",
            "add --multiple-validation-sets; one set is enough.",
        )
    # An older release builds the loaders of training and of validation with one size of micro-batches.
    micro = args.micro_batch_size if installed_release().plain_evaluation else 1
    if args.eval_micro_batch_size not in (None, micro):
        raise RefusedError(
            f"--eval-micro-batch-size {args.eval_micro_batch_size} is given with --full-validation, but "
            f"Megatron reads whole sets in micro-batches of {micro}.",
            "drop it.",
        )
    args.eval_micro_batch_size = micro
    replicas = max(1, args.world_size // (args.tensor_model_parallel_size * stages * args.context_parallel_size))
    group = (args.microbatch_group_size_per_vp_stage or stages) if virtual else stages
    if args.eval_global_batch_size is None:
        # As many micro-batches as keep all stages busy; virtual ones take no fewer.
        args.eval_global_batch_size = micro * replicas * (group if args.multiple_validation_sets else 1)
    elif virtual and (few := few_microbatches(args.eval_global_batch_size // (micro * replicas), stages, group)):
        raise RefusedError(f"--eval-global-batch-size {args.eval_global_batch_size}: {few}", "drop it.")


def iterators(args: Namespace, build: Callable[[], Any]) -> Any:
    """Build the data iterators, after which every rank knows each set's iterations.

    Args:
        args: Megatron's arguments.
        build: Megatron's ``build_train_valid_test_data_iterators``; called on all ranks together, once for each
            virtual stage.
    """
    if not (args.full_validation and args.multiple_validation_sets):
        return build()
    # A list if an earlier virtual stage was here; Megatron computes with the number of the flag.
    known, args.eval_iters = (args.eval_iters, 1) if isinstance(args.eval_iters, list) else ((), args.eval_iters)
    built = build()
    batches = args.eval_global_batch_size // (args.eval_micro_batch_size * args.data_parallel_size)
    args.eval_iters = _agreed([(count or 0) // batches for count in args.eval_iters], known)
    return built


def _agreed(own: Sequence[int], known: Sequence[int]) -> list[int]:
    """Return each set's most iterations on any rank; a rank that reads nothing has 0."""
    counts = torch.tensor([own, known or [0] * len(own)], dtype=torch.long, device="cuda").amax(dim=0)
    torch.distributed.all_reduce(counts, op=torch.distributed.ReduceOp.MAX)
    agreed: list[int] = counts.tolist()
    return agreed


def by_set(args: Namespace, found: Any) -> Any:
    """Return each set's list of virtual stages, out of each virtual stage's list of sets."""
    if args.virtual_pipeline_model_parallel_size and args.multiple_validation_sets and isinstance(found, list):
        return [list(stages) for stages in zip(*found, strict=True)]
    return found


def evaluate_sets(args: Namespace, call: Call) -> Any:
    """Call Megatron's ``evaluate_and_print_results`` with data iterators as it needs them."""
    with named_sets(args.validation_set_names if installed_release().plain_evaluation else None):
        return call.proceed(data_iterator=by_set(args, call["data_iterator"]))


def evaluate(args: Namespace, call: Call, activity: CurrentActivity) -> Any:
    """Call Megatron's ``evaluate``; a script sees the evaluation's micro-batch size: upstream's tells it to receivers.

    Args:
        args: Megatron's arguments.
        call: The call of ``evaluate``.
        activity: Told how many iterations are done.
    """
    trained_with = args.micro_batch_size, args.global_batch_size
    args.micro_batch_size = args.eval_micro_batch_size
    if installed_release().plain_evaluation:
        args.global_batch_size = args.eval_global_batch_size
    try:
        with activity.evaluating(call["forward_step_func"], call["model"], call["eval_iters"], args) as step:
            return call.proceed(forward_step_func=step)
    finally:
        args.micro_batch_size, args.global_batch_size = trained_with
