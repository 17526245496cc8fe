"""GPT training with megatron-core 0.18: its training loop takes a function that builds the model."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from megatron.core.enums import ModelType
from megatron.training import pretrain
from megatron.training.argument_utils import pretrain_cfg_container_from_args
from megatron.training.arguments import parse_and_validate_args

from megatron_lrps.training.megatron import gpt_batch
from megatron_lrps.training.megatron.gpt_model import builder, provide_gpt
from megatron_lrps.training.megatron.gpt_parts import Batch, GptParts


def _share_batch(iterator: Iterator[Batch] | None, args: Namespace, predicts_more: bool) -> Batch:
    return gpt_batch.share_batch(iterator, args, predicts_more, packed="is_sft")


def _train(check: Callable[[Namespace], None], datasets: Any, forward_step: Any, embedding_ranks: Any) -> None:
    args = parse_and_validate_args()
    check(args)
    pretrain(
        pretrain_cfg_container_from_args(args),
        datasets,
        provide_gpt,
        ModelType.encoder_or_decoder,
        forward_step,
        get_embedding_ranks=embedding_ranks,
    )


PARTS = GptParts(predicts_more=gpt_batch.predicts_more, share_batch=_share_batch, builder=builder, train=_train)
