"""Megatron's local modules, extended for what Transformer Engine's train on a GPU: experts, and MLA.

Each function takes Megatron's own one and returns the one to put in its place; where Megatron's own worked, the numbers
are the same.
"""

import math
from collections.abc import Callable
from typing import Any

import torch


def with_own_output(stock: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return the forward pass of a reduction over tensor ranks that never returns its input as it is.

    An output that is the input may not be changed in place, as an expert's linear layer does when it adds its bias.
    """

    def forward(ctx: Any, input_: torch.Tensor, *given: Any) -> torch.Tensor:
        reduced = stock(ctx, input_, *given)
        return reduced.clone() if reduced.data_ptr() == input_.data_ptr() else reduced

    return forward


def with_channels(stock: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor of attention whose keys and values may have other sizes (MLA, arXiv 2405.04434)."""

    def construct(
        self: Any, *given: Any, k_channels: int | None = None, v_channels: int | None = None, **named: Any
    ) -> None:
        stock(self, *given, **named)
        if k_channels is not None and named.get("softmax_scale") is None:
            self.softmax_scale *= math.sqrt(self.hidden_size_per_attention_head / k_channels)
        if v_channels is not None:
            self.hidden_size_per_partition = self.num_attention_heads_per_partition * v_channels

    return construct


def moved(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that moves a dispatcher's counts of tokens to the host, for counts that are there already.

    Megatron also makes a NumPy array of what it moves, and gloo takes no tensor as the sizes of an all-to-all.
    """

    def move(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
        found = stock(tensor, as_numpy=as_numpy, record_stream=record_stream)
        return found.numpy() if as_numpy and torch.is_tensor(found) else found

    return move
