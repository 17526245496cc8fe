"""mamba-ssm's kernels on a GPU compute what the CPU backend puts in their place."""

import pytest
import torch

from megatron_lrps.training.cpu.selective_scan import GatedRMSNorm, split_conv_scan

pytestmark = pytest.mark.gpu
HEADS, WIDTH, GROUPS, STATE, LENGTH = 8, 64, 2, 64, 300


def test_the_scan_and_the_norm_are_those_of_mamba_ssm() -> None:
    kernels = pytest.importorskip("mamba_ssm.ops.triton.ssd_combined", reason="needs mamba-ssm")
    norms = pytest.importorskip("mamba_ssm.ops.triton.layernorm_gated", reason="needs mamba-ssm")
    draw = torch.Generator().manual_seed(3)
    inner, channels = HEADS * WIDTH, HEADS * WIDTH + 2 * GROUPS * STATE
    given = [
        torch.randn(2, LENGTH, inner + channels + HEADS, generator=draw) / 2,
        torch.randn(channels, 4, generator=draw) / 2,
        torch.randn(channels, generator=draw) / 2,
        torch.randn(HEADS, generator=draw),
        -torch.arange(1.0, HEADS + 1),
        torch.randn(HEADS, generator=draw),
    ]
    sizes = {"chunk_size": 128, "headdim": WIDTH, "ngroups": GROUPS, "norm_before_gate": False}
    ours = split_conv_scan(*given, **sizes)
    on_gpu = [each.cuda() for each in given]
    theirs = kernels.mamba_split_conv1d_scan_combined(*on_gpu[:5], D=on_gpu[5], activation="silu", **sizes)
    torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-2, atol=1e-2)  # its products are rounded to TF32
    norm = norms.RMSNorm(inner, eps=1e-5, group_size=inner // GROUPS, norm_before_gate=False, device="cuda")
    own = GatedRMSNorm(inner, eps=1e-5, group_size=inner // GROUPS)
    torch.testing.assert_close(norm(ours.cuda()).cpu(), own(ours), rtol=1e-4, atol=1e-4)
