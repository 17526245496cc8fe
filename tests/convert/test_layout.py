"""The layout of ranks that an export is for, as Megatron counts them."""

from typing import Any

import pytest
from convert.models import LLAMA_MODEL

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.layout import Layout
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.errors import RefusedError

ARGS = args_of(Model(**{**LLAMA_MODEL.__dict__, "family": "mixtral", "experts": 6, "top_k": 2}))


@pytest.mark.parametrize(
    ("sizes", "ranks", "data", "name"),
    [
        ({}, 1, 1, "tp1-pp1"),
        ({"tensor": 2, "pipeline": 2}, 4, 1, "tp2-pp2"),
        ({"expert": 3}, 3, 3, "tp1-pp1-ep3"),  # each rank has a share of the experts, and its own share of the data
        ({"tensor": 2, "expert": 3}, 6, 3, "tp2-pp1-ep3"),
        ({"tensor": 2, "expert": 3, "expert_tensor": 1}, 6, 3, "tp2-pp1-ep3-etp1"),
        ({"tensor": 2, "pipeline": 2, "expert": 2, "expert_tensor": 1}, 4, 1, "tp2-pp2-ep2-etp1"),
    ],
)
def test_a_layout_has_the_smallest_number_of_ranks_that_its_groups_divide(
    sizes: dict[str, Any], ranks: int, data: int, name: str
) -> None:
    layout = Layout(**sizes)
    layout.refuse_for(ARGS)
    assert (layout.ranks, layout.args["data_parallel_size"], layout.name) == (ranks, data, name)
    assert layout.args["world_size"] % (layout.pipeline * layout.split * layout.expert) == 0


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"expert": 4}, "--expert-parallel 4 does not divide num_experts 6"),
        ({"expert_tensor": 5}, "--expert-tensor-parallel 5 does not divide moe_ffn_hidden_size 96"),
        ({"pipeline": 3}, "--pipeline-parallel 3 does not divide num_layers 2"),
    ],
)
def test_a_layout_that_does_not_divide_the_experts_is_refused(sizes: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        Layout(**sizes).refuse_for(ARGS)
