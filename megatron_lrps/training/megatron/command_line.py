"""Megatron's parser reads the plan's flags before the user's, and refuses in one sentence."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.batch_schedule import STEPS
from megatron_lrps.plan.flag_ranges import refuse_out_of_range, refuse_without_gpu
from megatron_lrps.plan.hybrid_pattern import refuse_wrong_pattern
from megatron_lrps.plan.parallel_layout import refuse_impossible_layout
from megatron_lrps.schedule import Batches
from megatron_lrps.training.arguments import Parser, Planned, add_arguments, full_command_line
from megatron_lrps.training.megatron.installed import installed_release, installed_version
from megatron_lrps.training.megatron.whole_validation import add_validation_flags
from megatron_lrps.training.rank_environment import refuse_no_launcher

Provider = Callable[[Parser], Parser]


def add_flags(parser: Parser) -> Parser:
    """Add the plugin's flags to Megatron's parser, and those of newer releases that a plan needs."""
    parser = add_arguments(parser)
    if installed_release().plain_evaluation:
        add_validation_flags(parser)
    return parser


@contextmanager
def read_with_plan(
    own: argparse.Namespace, plan: Planned | None, extra_args_provider: Provider | None
) -> Iterator[Provider]:
    """Yield the argument provider for Megatron's ``parse_args``; it also changes the words that are parsed.

    Args:
        own: The plugin's flags on the command line.
        plan: The path of the plan that they name, or None.
        extra_args_provider: The script's own provider.

    Raises:
        RefusedError: no launcher has started this rank, the ranks are not as many as the plan's layout needs, or this
            Megatron cannot let the batch rise.
    """
    given, argv = sys.argv, sys.argv[1:]
    refuse_no_launcher(argv)
    if plan is not None:
        refuse_rising_batch(plan.tree.batches)
    if plan is not None and all(word.startswith("--lrps-") for word in argv if word.startswith("--")):
        # Any other flag may be of the layout; then it is Megatron's to judge.
        refuse_impossible_layout(plan.tree.plan_of(plan.path), int(os.environ.get("WORLD_SIZE", "1")))

    def provider(parser: Parser) -> Parser:
        parser = add_flags(parser)
        parser = extra_args_provider(parser) if extra_args_provider else parser
        # Megatron reads sys.argv next. Another parser of its thousand flags would cost a tenth of a second.
        sys.argv = [given[0], *full_command_line(argv, own, plan, parser)]
        return parser

    try:
        yield provider
    finally:
        sys.argv = given


def refuse_rising_batch(batches: Batches) -> None:
    """Refuse batches that rise where this Megatron has no flag for their steps; raises RefusedError."""
    if batches.rises and not installed_release().steps_batches:
        raise RefusedError(
            f"The plan's batch is {batches.words}, and megatron-core {installed_version()} has no "
            f"--{STEPS}; its ramp cannot count a path in iterations.",
            "train it with megatron-core 0.18 or later, or with one global_batch_size.",
        )


def refuse_wrong_values(args: argparse.Namespace) -> None:
    """Refuse numbers that Megatron's parser takes and its training does not; raises RefusedError."""
    flags = {name.replace("_", "-"): value for name, value in vars(args).items()}
    refuse_out_of_range(flags, "--")
    refuse_wrong_pattern(flags, "--", cpu=args.lrps_cpu)
    if args.lrps_cpu:
        flags |= {"fp8-format": args.fp8, "fp4-format": args.fp4}
        refuse_without_gpu(flags, "--")
