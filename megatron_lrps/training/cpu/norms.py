"""LayerNorm and RMSNorm for all that Megatron's torch norms refuse: sequence parallelism and zero-centred weights.

A norm works on each token alone, so a part of the sequence needs no other arithmetic. What sequence parallelism needs
is a mark on the weights: each rank has the gradient of its own tokens, and Megatron adds up those of marked weights.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class CentredLayerNorm(torch.nn.LayerNorm):
    """LayerNorm whose weight is kept as its distance from 1 (``--apply-layernorm-1p``), as Transformer Engine's is."""

    def reset_parameters(self) -> None:
        """Let it begin as a plain normalization: weight and bias 0."""
        torch.nn.init.zeros_(self.weight)
        torch.nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize the last dimension; shape and type stay."""
        return functional.layer_norm(input, self.normalized_shape, self.weight + 1, self.bias, self.eps)


class CentredRMSNorm(torch.nn.RMSNorm):
    """RMSNorm whose weight is kept as its distance from 1."""

    def reset_parameters(self) -> None:
        """Let it begin as a plain normalization: weight 0."""
        torch.nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last dimension; shape and type stay."""
        return functional.rms_norm(x, self.normalized_shape, self.weight + 1, self.eps)


_CENTRED: dict[type, type[torch.nn.Module]] = {
    torch.nn.LayerNorm: CentredLayerNorm,
    torch.nn.RMSNorm: CentredRMSNorm,
}


def wrapped(stock: Callable[..., torch.nn.Module]) -> Callable[..., torch.nn.Module]:
    """Return a ``__new__`` of Megatron's ``WrappedTorchNorm`` that also makes what ``stock``, its own one, refuses."""

    def make(cls: type, config: Any, hidden_size: int, eps: float = 1e-5, **unused: Any) -> torch.nn.Module:
        plain = copy.copy(config)
        plain.sequence_parallel = plain.layernorm_zero_centered_gamma = False
        norm = stock(cls, plain, hidden_size, eps, **unused)
        if config.layernorm_zero_centered_gamma:
            norm = _CENTRED[type(norm)](hidden_size, eps=eps)
        for weight in norm.parameters():
            weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]
        return norm

    return make
