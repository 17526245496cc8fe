"""What Megatron's Mamba layers compute with kernels for GPUs (mamba-ssm), in torch: the scan, and the gated norm.

The recurrence is Mamba-2's (arXiv 2405.21060, section 6): within a chunk it is a product of matrices, and from chunk
to chunk a state is handed on. All of it is computed in fp32, as the kernels do.
"""

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron.patching import set_meanwhile


def chunk_scan(
    x: Tensor,
    dt: Tensor,
    decay: Tensor,
    written: Tensor,
    read: Tensor,
    chunk_size: int,
    *,
    D: Tensor,  # noqa: N803 - the kernel's name, which Megatron calls it by
    z: Tensor | None = None,
    dt_bias: Tensor,
    dt_softplus: bool = True,
    return_final_states: bool = False,
    initial_states: Tensor | None = None,
) -> Any:
    """Return the states of a sequence, read out at each position; under the parameters of the kernel of this name.

    Args:
        x: (batch, length, heads, width).
        dt: (batch, length, heads): the time step, before its bias and softplus.
        decay: (heads,): negative.
        written: (batch, length, groups, state): what a position writes.
        read: (batch, length, groups, state): what a position reads.
        chunk_size: The positions of a chunk; it changes the result by rounding alone.
        D: (heads,): the share of ``x`` that goes straight through.
        z: As ``x``: a gate.
        dt_bias: (heads,).
        dt_softplus: As Megatron gives it: true.
        return_final_states: Return the last state too, (batch, heads, width, state).
        initial_states: The state before the first position.
    """
    heads, groups = x.shape[2], written.shape[2]
    step = functional.softplus(dt.float() + dt_bias.float())
    inputs = x.float() * step[..., None]
    written, read = (each.float().repeat_interleave(heads // groups, dim=2) for each in (written, read))
    state = x.new_zeros((x.shape[0], heads, x.shape[3], written.shape[3]), dtype=torch.float32)
    if initial_states is not None:
        state = initial_states.float()
    parts = []
    for begin in range(0, x.shape[1], chunk_size):
        u, a, b, c = (each[:, begin : begin + chunk_size] for each in (inputs, step * decay, written, read))
        passed = a.cumsum(dim=1).transpose(1, 2)  # (batch, heads, positions): the log of what is left of a state
        past = torch.ones(passed.shape[-1], passed.shape[-1], dtype=torch.bool, device=x.device).tril()
        left = (passed[..., :, None] - passed[..., None, :]).masked_fill(~past, -torch.inf).exp()
        inside = torch.einsum("bihn,bjhn->bhij", c, b) * left
        before = torch.einsum("bihn,bhpn,bhi->bihp", c, state, passed.exp())
        parts.append(torch.einsum("bhij,bjhp->bihp", inside, u) + before)
        kept = (passed[..., -1:] - passed).exp()
        state = state * passed[..., -1, None, None].exp() + torch.einsum("bhj,bjhp,bjhn->bhpn", kept, u, b)
    found = torch.cat(parts, dim=1) + x.float() * D.float()[:, None]
    if z is not None:
        found = found * functional.silu(z.float())
    return (found.to(x.dtype), state) if return_final_states else found.to(x.dtype)


def split_conv_scan(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor,
    dt_bias: Tensor,
    decay: Tensor,
    D: Tensor,  # noqa: N803 - the kernel's name, which Megatron calls it by
    chunk_size: int,
    *,
    headdim: int,
    ngroups: int,
    seq_idx: Tensor | None = None,
    activation: str = "silu",
    norm_before_gate: bool = False,
) -> Tensor:
    """Return a Mamba layer between its projections and before its norm; under the parameters of its kernel.

    Args:
        zxbcdt: (batch, length, columns): gate, input, what is written, what is read, and time step, side by side.
        conv1d_weight: (channels, width): over the input and what is written and read.
        conv1d_bias: (channels,).
        dt_bias: (heads,).
        decay: (heads,): negative.
        D: (heads,).
        chunk_size: As in ``chunk_scan``.
        headdim: The width of a head.
        ngroups: The groups of heads that write and read alike.
        seq_idx: Which packed sequence a position is of.
        activation: As Megatron gives it: SiLU.
        norm_before_gate: Of the kernel's own norm, which Megatron does not use.

    Raises:
        RefusedError: several sequences are packed into one.
    """
    if seq_idx is not None:
        raise RefusedError(
            "Sequences are packed into one, which Mamba layers honour on a GPU alone.",
            "train sequences that are not packed, or set launch.device: gpu.",
        )
    heads, channels = dt_bias.shape[0], conv1d_weight.shape[0]
    inner = heads * headdim
    gate, mixed, dt = torch.split(zxbcdt, [inner, channels, heads], dim=-1)
    width, length = conv1d_weight.shape[1], mixed.shape[1]
    mixed = functional.conv1d(
        mixed.transpose(1, 2), conv1d_weight[:, None], conv1d_bias, padding=width - 1, groups=channels
    )
    mixed = functional.silu(mixed[..., :length].transpose(1, 2))
    x, written, read = torch.split(mixed, [inner, (channels - inner) // 2, (channels - inner) // 2], dim=-1)
    written, read = (each.reshape(*each.shape[:2], ngroups, -1) for each in (written, read))
    x, z = (each.reshape(*each.shape[:2], heads, headdim) for each in (x, gate))
    scanned: Tensor = chunk_scan(x, dt, decay, written, read, chunk_size, D=D, z=z, dt_bias=dt_bias)
    return scanned.flatten(2)


class GatedRMSNorm(nn.Module):
    """RMSNorm of each group of channels by itself, of values that a gate has multiplied, if there is one.

    Args:
        hidden_size: The number of channels.
        eps: Added to the mean square.
        group_size: The channels of a group.
        norm_before_gate: As Megatron gives it: false.
        device: Of the weight.
        dtype: Of the weight.
    """

    def __init__(
        self,
        hidden_size: int,
        eps: float,
        group_size: int,
        *,
        norm_before_gate: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))
        self.eps, self.group_size = eps, group_size

    def forward(self, values: Tensor, gate: Tensor | None = None) -> Tensor:
        """Return the values, normalised; both are (..., channels)."""
        gated = values.float() if gate is None else values.float() * functional.silu(gate.float())
        groups = gated.reshape(*gated.shape[:-1], -1, self.group_size)
        scaled = groups * torch.rsqrt(groups.square().mean(dim=-1, keepdim=True) + self.eps)
        return (scaled.flatten(-2) * self.weight.float()).to(values.dtype)


@contextlib.contextmanager
def offered_as_mamba_ssm() -> Iterator[None]:
    """Offer all of it under the names of mamba-ssm, for the import of Megatron's Mamba layers."""
    kernels = ModuleType("mamba_ssm.ops.triton.ssd_combined")
    vars(kernels).update(mamba_chunk_scan_combined=chunk_scan, mamba_split_conv1d_scan_combined=split_conv_scan)
    norms = ModuleType("mamba_ssm.ops.triton.layernorm_gated")
    vars(norms).update(RMSNorm=GatedRMSNorm)
    with (
        set_meanwhile(sys.modules, kernels.__name__, kernels),
        set_meanwhile(sys.modules, norms.__name__, norms),
    ):
        yield
