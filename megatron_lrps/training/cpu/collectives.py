"""Collectives of ``torch.distributed`` that NCCL has and gloo lacks."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor


def gathered_unevenly(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Return an ``all_gather`` that also takes parts of different sizes, as Megatron's distributed Muon gathers them.

    Each rank sends its part with zeros behind it. Parts of one size are left to ``stock``, torch's own one.
    """

    @functools.wraps(stock)
    def gather(tensor_list: Sequence[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Any:
        longest = max(part.numel() for part in tensor_list)
        if async_op or all(part.numel() == longest for part in tensor_list):
            return stock(tensor_list, tensor, group=group, async_op=async_op)
        sent = tensor.new_zeros(longest)
        sent[: tensor.numel()] = tensor.reshape(-1)
        received = [tensor.new_empty(longest) for _ in tensor_list]
        stock(received, sent, group=group)
        for part, found in zip(tensor_list, received, strict=True):
            part.copy_(found[: part.numel()].view_as(part))
        return None

    return gather
