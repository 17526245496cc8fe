"""A branch that is given by flags alone, without a plan: what it trains, and the flags that contradict it."""

from argparse import Namespace
from pathlib import Path

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.batch_schedule import BATCH_FLAGS
from megatron_lrps.plan.refused_flags import UNSAFE
from megatron_lrps.schedule import Batches, Branch, DecaySpec, branch_schedule, main_schedule
from megatron_lrps.training.path_to_train import PathToTrain

_UNSAFE_IN_A_BRANCH = (
    *("phase-transition-iterations", "iterations-to-skip", "result-rejected-tracker-filename"),
    *(
        "decrease-batch-size-if-needed",
        "override-ckpt-iteration",
        "non-persistent-ckpt-type",
        "non-persistent-save-interval",
    ),
)
_NOT_IN_A_BRANCH = {
    "train_samples": "its end is --lrps-fork-iter + --lrps-decay-iters, in iterations",
    "lr_decay_samples": "its decay is --lrps-decay-iters, in iterations",
    **{flag.replace("-", "_"): "without a plan, positions are iterations of one global batch" for flag in BATCH_FLAGS},
    **{flag.replace("-", "_"): UNSAFE[flag] for flag in _UNSAFE_IN_A_BRANCH},
}
"""The reason why a branch without a plan refuses an argument of Megatron, by its destination."""


def unplanned_branch(args: Namespace) -> PathToTrain:
    """Read what to train from Megatron's parsed arguments, and set on them what follows from it.

    Raises:
        RefusedError: for flags that contradict ``--lrps-fork-iter`` and its companions.
    """
    fork, length = args.lrps_fork_iter, args.lrps_decay_iters
    end = fork + length
    parent = args.lrps_parent or args.load
    for flag, value in (("--lrps-fork-iter", fork), ("--lrps-decay-iters", length)):
        if value < 1:
            raise RefusedError(f"{flag} {value} is below 1.", "give at least 1.")
    for flag in ("save", "global_batch_size", "lr", "min_lr"):
        if getattr(args, flag) is None:
            raise RefusedError(f"--{flag.replace('_', '-')} is not given, but a branch needs it.", "add it.")
    if parent is None:
        raise RefusedError(
            "A branch is given without its parent.", "add --lrps-parent with the folder of the main path's checkpoints."
        )
    if Path(parent).resolve() == Path(args.save).resolve():
        raise RefusedError(f"--save {args.save} is the parent's folder.", "give the branch a folder of its own.")
    if args.train_iters not in (None, end):
        raise RefusedError(
            f"--train-iters {args.train_iters} contradicts the branch's end, {fork} + {length} = {end}.",
            f"give {end}, or drop it.",
        )
    if args.lr_warmup_samples or args.lr_warmup_fraction is not None:
        raise RefusedError(
            "--lr-warmup-samples and --lr-warmup-fraction are not supported for a branch.", "use --lr-warmup-iters."
        )
    for name in ("finetune", "no_load_optim", "override_opt_param_scheduler", "use_checkpoint_opt_param_scheduler"):
        if getattr(args, name):
            raise RefusedError(f"--{name.replace('_', '-')} would break the fork.", "drop it.")
    for name, reason in _NOT_IN_A_BRANCH.items():
        if getattr(args, name, None):  # older releases of Megatron lack some
            flag = f"--{name.replace('_', '-')}"
            raise RefusedError(f"{flag} is given to a branch: {reason}.", f"drop {flag}.")
    if args.ckpt_format != "torch_dist":
        raise RefusedError(
            f"--ckpt-format {args.ckpt_format} is given, but a branch reads and writes only torch_dist.",
            "drop it. Convert a parent in another format first, with --ckpt-convert-format torch_dist.",
        )
    if args.ckpt_step not in (None, fork):
        raise RefusedError(f"--ckpt-step {args.ckpt_step} contradicts --lrps-fork-iter {fork}.", "drop it.")
    if args.lr_warmup_iters > fork:
        raise RefusedError(f"--lr-warmup-iters {args.lr_warmup_iters} reaches past the fork at {fork}.", "fork later.")
    batches, decay = Batches.of(args.global_batch_size), DecaySpec(shape=args.lrps_decay_shape)
    main = main_schedule(warm=args.lr_warmup_iters, batches=batches)
    args.train_iters, args.lr_decay_style, args.lr_decay_iters = end, "constant", None
    return PathToTrain(
        schedule=branch_schedule(main, Branch(name="branch", fork=fork, end=end, decay=decay), batches=batches),
        batches=batches,
        own=Path(args.save),
        parent=Path(parent),
        fork=fork,
        end=end,
        until=end,
    )
