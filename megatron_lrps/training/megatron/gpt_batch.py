"""How megatron-core 0.18 and later give a micro-batch to every rank that needs it."""

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import torch
from megatron.core import mpu
from megatron.core.transformer.multi_token_prediction import mtp_on_this_rank
from megatron.core.utils import get_batch_on_this_cp_rank, get_batch_on_this_tp_rank

from megatron_lrps.training.megatron.gpt_parts import Batch, read_batch


def predicts_more(config: Any, vp_stage: int | None) -> bool:
    """Tell whether this stage has multi-token-prediction layers."""
    return bool(
        mtp_on_this_rank(
            layout=config.pipeline_model_parallel_layout,
            mtp_num_layers=config.mtp_num_layers,
            ignore_virtual=False,
            vp_stage=vp_stage,
        )
    )


def share_batch(
    iterator: Iterator[Batch] | None, args: Namespace, predicts_more: bool, packed: str = "has_cu_seqlens"
) -> Batch:
    """Give every rank its part of a micro-batch; ``packed`` is the parameter that asks for packed sequences."""
    tensor_rank = mpu.get_tensor_model_parallel_rank()
    batch = get_batch_on_this_tp_rank(
        read_batch(iterator) if tensor_rank == 0 else {},
        broadcast_src_rank=mpu.get_tensor_model_parallel_src_rank(),
        broadcast_group=mpu.get_tensor_model_parallel_group(),
        is_hybrid_cp=False,
        create_attention_mask_in_dataloader=args.create_attention_mask_in_dataloader,
        cp_size=args.context_parallel_size,
        tp_rank=tensor_rank,
        # Validation may have another micro-batch size, and receiving ranks must know the shape.
        micro_batch_size=args.micro_batch_size if torch.is_grad_enabled() else args.eval_micro_batch_size,
        seq_length=args.seq_length,
        mtp_on_this_rank=predicts_more,
        pipeline_model_parallel_size=args.pipeline_model_parallel_size,
        is_pipeline_first_stage=mpu.is_pipeline_first_stage(),
        is_pipeline_last_stage=mpu.is_pipeline_last_stage(),
        **{packed: False},
    )
    shared: Batch = get_batch_on_this_cp_rank(batch, is_hybrid_cp=False, cp_group=mpu.get_context_parallel_group())
    return shared
