"""GPT training with megatron-core 0.17: its training loop parses the command line and takes a model's function."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from megatron.core import mpu
from megatron.core.enums import ModelType
from megatron.core.transformer.multi_token_prediction import mtp_on_this_rank
from megatron.core.utils import get_batch_on_this_cp_rank
from megatron.training import get_args, pretrain
from megatron.training.utils import get_batch_on_this_tp_rank

from megatron_lrps.training.megatron.gpt_model import builder, provide_gpt
from megatron_lrps.training.megatron.gpt_parts import FIELDS, Batch, GptParts


def _predicts_more(config: Any, vp_stage: int | None) -> bool:
    return bool(mtp_on_this_rank(config, ignore_virtual=False, vp_stage=vp_stage))


def _share_batch(iterator: Iterator[Batch] | None, args: Namespace, predicts_more: bool) -> Batch:
    batch = get_batch_on_this_tp_rank(iterator, mtp_on_this_rank=predicts_more)
    fields = {field: batch[field] for field in FIELDS}
    shared: Batch = get_batch_on_this_cp_rank(fields, cp_group=mpu.get_context_parallel_group())
    return shared


def _train(check: Callable[[Namespace], None], datasets: Any, forward_step: Any, embedding_ranks: Any) -> None:
    def provide(*given: Any, **named: Any) -> Any:
        check(get_args())
        return provide_gpt(*given, **named)

    kind = ModelType.encoder_or_decoder
    pretrain(datasets, provide, kind, forward_step, get_embedding_ranks=embedding_ranks)


PARTS = GptParts(predicts_more=_predicts_more, share_batch=_share_batch, builder=builder, train=_train)
