"""A check passes every boundary of the model that the memory allows, and says which ones it does not."""

from typing import Any

import pytest
from convert.models import LLAMA_MODEL

from megatron_lrps.convert.architecture import Latent, Mamba, Model, Yarn
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.convert.probe import free_memory, probe_of

PLENTY = 2**50
MAMBA = Mamba(heads=4, width=16, state=16, groups=2)
LATENT = Latent(queries=24, keys=16, plain=16, turned=8, value=12)


def lengths(free: int = PLENTY, **change: Any) -> list[int]:
    args = args_of(Model(**{**LLAMA_MODEL.__dict__, "positions": 32768, **change}))
    return probe_of(args, vocab=111, elements=1000, free=free).lengths


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, [128]),
        ({"positions": 16}, [16]),
        ({"family": "mistral", "window": 4096}, [128, 4096 + 32]),
        ({"family": "mistral", "window": 16}, [128]),  # the short ones are past it already
        ({"family": "mistral", "window": 40_000}, [128, 32768]),
        ({"rope_factor": 8.0}, [128, 8192 + 32]),
        ({"rope_interpolation": 8}, [128, 4096 + 32]),
        ({"family": "gpt2", "groups": 4, "bias": True, "ungated": "gelu", "positions": 1024}, [128, 1024]),
        ({"family": "mixtral", "experts": 4, "top_k": 2}, [32]),
        ({"family": "deepseek_v3", "latent": LATENT, "yarn": Yarn(factor=4.0, original=4096)}, [128, 4096 + 32]),
        ({"family": "deepseek_v3", "latent": LATENT}, [128]),
        ({"family": "nemotron_h", "pattern": "M*", "ungated": "relu2", "mamba": MAMBA}, [128, 128 + 32]),
        ({"family": "nemotron_h", "pattern": "-*", "ungated": "relu2"}, [128]),
    ],
)
def test_the_lengths_pass_every_boundary(change: dict[str, Any], expected: list[int]) -> None:
    assert lengths(**change) == expected


def test_what_the_memory_does_not_allow_is_left_out_and_said() -> None:
    args = args_of(Model(**{**LLAMA_MODEL.__dict__, "positions": 32768, "window": 4096, "family": "mistral"}))
    probe = probe_of(args, vocab=111, elements=10**9, free=6 * 2**30)
    # 1.5 GiB and a billion values of 4.4 bytes: 5.6 GiB. The scores, 3 x 4 heads x 4 bytes x 4128^2: 0.8 GiB more.
    assert probe.lengths == [128]
    assert probe.left_out == [4128]
    assert probe.needed == pytest.approx(5.6 * 2**30, rel=0.01)
    assert probe_of(args, vocab=111, elements=10**9, free=7 * 2**30).lengths == [128, 4128]


def test_the_tokens_are_the_same_every_time_and_of_the_vocabulary() -> None:
    args = args_of(Model(**{**LLAMA_MODEL.__dict__, "positions": 128}))
    one, other = (probe_of(args, vocab=111, elements=1, free=PLENTY) for _ in range(2))
    assert one == other
    assert {token for batch in one.batches for sequence in batch for token in sequence} > set(range(100, 105))


def test_the_free_memory_is_that_of_this_machine() -> None:
    assert 2**28 < free_memory() < 2**50
