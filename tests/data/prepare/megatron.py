"""Megatron's own tokenizer for a plan, built as training builds it: from the plan's flags, by Megatron's parser."""

import argparse
from typing import Any

from megatron_lrps.plan import Plan, expand
from megatron_lrps.plan.flags import argument_line, path_flags


def megatron_tokenizer(plan: Plan) -> Any:
    from megatron.core.tokenizers.utils.build_tokenizer import build_tokenizer
    from megatron.training.arguments import _add_tokenizer_args

    tree = expand(plan)
    flags = path_flags(tree, tree.path("v1"))
    # Megatron's tools set these three themselves.
    parser = _add_tokenizer_args(argparse.ArgumentParser(allow_abbrev=False))
    parser.set_defaults(rank=1, make_vocab_size_divisible_by=128, tensor_model_parallel_size=1)
    return build_tokenizer(parser.parse_known_args(argument_line(flags))[0])
