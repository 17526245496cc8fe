"""Norms of the CPU backend: by hand, and sequence parallelism over two real ranks."""

from pathlib import Path

import pytest
import torch

from megatron_lrps.training.cpu.norms import CentredLayerNorm, CentredRMSNorm
from tests.training.harness import train

TP2 = "--tensor-model-parallel-size 2 --mock-data --train-iters 6 --qk-layernorm"
# In bf16 the two ways of adding up differ in the third digit.
FP32 = (
    "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 32 --max-position-embeddings 32"
    " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --lr-decay-style constant --eval-interval 1000"
    " --eval-iters 1 --tokenizer-type NullTokenizer --vocab-size 127 --log-interval 1"
    " --attention-dropout 0 --hidden-dropout 0"
)


def test_a_centred_weight_is_its_distance_from_one() -> None:
    plain, centred = torch.nn.LayerNorm(3), CentredLayerNorm(3)
    given = torch.tensor([[1.0, 2.0, 6.0]])
    assert torch.equal(centred.weight, torch.zeros(3))
    torch.testing.assert_close(centred(given), plain(given))
    with torch.no_grad():
        plain.weight.fill_(1.5)
        centred.weight.fill_(0.5)
    torch.testing.assert_close(centred(given), plain(given))


def test_a_centred_rms_norm() -> None:
    centred = CentredRMSNorm(2, eps=0.0)
    given = torch.tensor([3.0, 4.0])  # the mean square is 12.5
    torch.testing.assert_close(centred(given), given / 12.5**0.5)
    with torch.no_grad():
        centred.weight.fill_(1.0)
    torch.testing.assert_close(centred(given), 2 * given / 12.5**0.5)


@pytest.mark.training
@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm --apply-layernorm-1p"])
def test_sequence_parallel_losses_are_those_without_it(tmp_path: Path, norm: str) -> None:
    """The same sums in another order, also after updates: the gradients of the norms come from all tokens."""
    flags = f"{TP2} --normalization {norm}"
    whole = train(tmp_path / "whole", flags, ranks=2, base=FP32)
    parts = train(tmp_path / "parts", f"{flags} --sequence-parallel", ranks=2, base=FP32)
    assert sorted(parts.losses) == list(range(1, 7))
    assert list(parts.losses.values()) == pytest.approx(list(whole.losses.values()), rel=2e-6)
    assert whole.losses[6] < whole.losses[1] - 0.3
    assert parts.validation == pytest.approx(whole.validation, rel=2e-6)
