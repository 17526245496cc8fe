"""Models that the CPU backend's own parts make trainable: experts and multi-latent attention, over real ranks."""

from pathlib import Path

import pytest
import torch

from megatron_lrps.training.cpu.modules import with_own_output
from tests.training.harness import train
from tests.training.test_norms import FP32

STEPS = "--mock-data --train-iters 4 --make-vocab-size-divisible-by 64"
EXPERTS = f"{STEPS} --num-experts 4 --moe-router-topk 2"
TP2 = "--tensor-model-parallel-size 2 --sequence-parallel"
MLA = (
    f"{STEPS} --multi-latent-attention --position-embedding-type rope --q-lora-rank 16 --kv-lora-rank 16"
    " --qk-head-dim 16 --qk-pos-emb-head-dim 8 --v-head-dim 24"
)


def test_a_reduction_over_one_rank_gives_an_output_of_its_own() -> None:
    given = torch.ones(2)
    own = with_own_output(lambda ctx, input_, group: input_)(None, given, None)
    assert torch.equal(own, given)
    assert own.data_ptr() != given.data_ptr()
    other = torch.zeros(2)
    assert with_own_output(lambda ctx, input_, group: other)(None, given, None) is other


def losses(folder: Path, flags: str, ranks: int) -> list[float]:
    run = train(folder, flags, ranks=ranks, base=FP32)
    assert sorted(run.losses) == [1, 2, 3, 4]
    return list(run.losses.values())


@pytest.mark.training
def test_experts_with_a_bias_learn_the_same_however_their_tokens_travel(tmp_path: Path) -> None:
    apart = f"{EXPERTS} --expert-model-parallel-size 2 --moe-token-dispatcher-type"
    gathered = losses(tmp_path / "gathered", f"{apart} allgather", 2)
    assert losses(tmp_path / "exchanged", f"{apart} alltoall", 2) == pytest.approx(gathered, rel=2e-6)


@pytest.mark.training
@pytest.mark.parametrize("model", [f"{EXPERTS} --disable-bias-linear", MLA])
def test_tensor_parallel_ranks_learn_what_one_learns(tmp_path: Path, model: str) -> None:
    one = losses(tmp_path / "one", model, 1)
    assert losses(tmp_path / "two", f"{model} {TP2}", 2) == pytest.approx(one, rel=2e-5)
    assert one[3] < one[0]
