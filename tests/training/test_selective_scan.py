"""Mamba's scan in torch: the recurrence, position by position, is what it computes chunk by chunk."""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.cpu.selective_scan import (
    GatedRMSNorm,
    chunk_scan,
    offered_as_mamba_ssm,
    split_conv_scan,
)

KERNELS = """
import contextlib
import torch, triton
tuned = triton.autotune
triton.autotune = lambda configs, key, **named: tuned(configs[-1:], key, **named)  # which would time them on a GPU
torch.cuda.device = lambda index: contextlib.nullcontext()
from megatron.core.ssm.ops.ssd_combined import mamba_chunk_scan_combined_varlen
from megatron_lrps.training.cpu.selective_scan import chunk_scan
draw = torch.Generator().manual_seed(1)
x, dt, written, read = (torch.randn(40, *each, generator=draw) for each in ((4, 16), (4,), (2, 16), (2, 16)))
decay, D, bias, z = -torch.arange(1.0, 5.0), *(torch.randn(*each, generator=draw) for each in ((4,), (4,), (40, 4, 16)))
chunks, out = torch.tensor([0, 16, 32, 40], dtype=torch.int32), torch.zeros_like(x)
theirs = mamba_chunk_scan_combined_varlen(
    x=x, dt=dt, A=decay, B=written, C=read, chunk_size=16, cu_chunk_seqlens=chunks, out=out, D=D, z=z, dt_bias=bias,
    last_chunk_indices=torch.tensor([2], dtype=torch.int32), seq_idx=torch.zeros(3, dtype=torch.int32),
    initial_states=None, dt_softplus=True, dt_limit=(0.0, float("inf")), state_dtype=torch.float32,
)
ours, state = chunk_scan(
    x[None], dt[None], decay, written[None], read[None], 16, D=D, z=z[None], dt_bias=bias, return_final_states=True
)
torch.testing.assert_close(ours[0], out, rtol=1e-5, atol=1e-4)
torch.testing.assert_close(state, theirs, rtol=1e-5, atol=1e-5)
print("the same up to", float((ours[0] - out).abs().max()), "of", float(out.abs().max()))
"""
LENGTH, HEADS, WIDTH, GROUPS, STATE = 21, 4, 6, 2, 5


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float32).requires_grad_()

    return {
        "x": normal(2, LENGTH, HEADS, WIDTH),
        "dt": normal(2, LENGTH, HEADS),
        "decay": (-torch.arange(1, HEADS + 1).float()).requires_grad_(),
        "written": normal(2, LENGTH, GROUPS, STATE),
        "read": normal(2, LENGTH, GROUPS, STATE),
        "D": normal(HEADS),
        "dt_bias": normal(HEADS),
        "z": normal(2, LENGTH, HEADS, WIDTH),
    }


def by_position(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The recurrence as it is written down: state = exp(dt a) state + dt x B, read by C."""
    state, found = torch.zeros(2, HEADS, WIDTH, STATE), []
    for at in range(LENGTH):
        step = functional.softplus(inputs["dt"][:, at] + inputs["dt_bias"])[..., None, None]
        written, read = (inputs[name][:, at].repeat_interleave(HEADS // GROUPS, dim=1) for name in ("written", "read"))
        x = inputs["x"][:, at]
        state = torch.exp(step * inputs["decay"][:, None, None]) * state + step * x[..., None] * written[:, :, None]
        out = (state * read[:, :, None]).sum(-1) + inputs["D"][:, None] * x
        found.append(out * functional.silu(inputs["z"][:, at]))
    return torch.stack(found, dim=1), state


@pytest.mark.parametrize("chunk", [1, 7, 8, 64])
def test_chunks_of_any_size_compute_the_recurrence_and_its_gradients(inputs: dict[str, Tensor], chunk: int) -> None:
    wanted, last = by_position(inputs)
    found, state = chunk_scan(*list(inputs.values())[:5], chunk, **behind(inputs), return_final_states=True)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-5)
    weights = torch.arange(found.numel()).reshape(found.shape) / found.numel()
    ours = torch.autograd.grad((found * weights).sum(), list(inputs.values()))
    for one, other in zip(ours, torch.autograd.grad((wanted * weights).sum(), list(inputs.values())), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def behind(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: inputs[name] for name in ("D", "z", "dt_bias")}


def test_a_state_goes_on_where_it_was_left(inputs: dict[str, Tensor]) -> None:
    inputs = {name: value.detach() for name, value in inputs.items()}
    whole = chunk_scan(*list(inputs.values())[:5], 8, **behind(inputs))
    halves, state = [], None
    for part in (slice(0, 10), slice(10, LENGTH)):
        cut = {name: value if value.dim() == 1 else value[:, part] for name, value in inputs.items()}
        half, state = chunk_scan(
            *list(cut.values())[:5], 8, **behind(cut), initial_states=state, return_final_states=True
        )
        halves.append(half)
    torch.testing.assert_close(torch.cat(halves, dim=1), whole, rtol=1e-5, atol=1e-5)


def test_an_extreme_decay_overflows_nowhere(inputs: dict[str, Tensor]) -> None:
    inputs["decay"] = torch.full((HEADS,), -1e4, requires_grad=True)
    found = chunk_scan(*list(inputs.values())[:5], 64, **behind(inputs))
    gradients = torch.autograd.grad(found.sum(), list(inputs.values()))
    assert all(torch.isfinite(each).all() for each in (found, *gradients))


def test_packed_sequences_are_refused() -> None:
    channels = HEADS * WIDTH + 2 * GROUPS * STATE
    with pytest.raises(RefusedError, match="Sequences are packed into one"):
        split_conv_scan(
            torch.zeros(1, LENGTH, HEADS * WIDTH + channels + HEADS),
            torch.zeros(channels, 4),
            torch.zeros(channels),
            torch.zeros(HEADS),
            -torch.ones(HEADS),
            torch.ones(HEADS),
            8,
            headdim=WIDTH,
            ngroups=GROUPS,
            seq_idx=torch.zeros(1, LENGTH),
        )


def test_the_norm_is_of_each_group_by_itself() -> None:
    norm = GatedRMSNorm(4, eps=0.0, group_size=2)
    found = norm(torch.tensor([[3.0, 4.0, 6.0, 8.0]]))
    root = 12.5**0.5  # of the mean of 9 and 16
    torch.testing.assert_close(found, torch.tensor([[3 / root, 4 / root, 3 / root, 4 / root]]))
    gate = torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    silu = 1 / (1 + torch.e**-1)
    assert norm(torch.tensor([[3.0, 4.0, 6.0, 8.0]]), gate)[0, 1].item() == pytest.approx(
        4 * silu / (8 * silu**2) ** 0.5
    )


def test_it_is_offered_while_megatron_imports_its_layers_alone() -> None:
    with offered_as_mamba_ssm():
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    assert mamba_chunk_scan_combined is chunk_scan
    assert not [name for name in sys.modules if name.startswith("mamba_ssm")]


def test_megatrons_own_kernels_compute_the_same() -> None:
    """Those of its inference, which are mamba-ssm's, run by Triton's interpreter on a CPU."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KERNELS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("the same up to"), done.stdout
