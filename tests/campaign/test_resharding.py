"""Which layouts are refused; that Megatron is right or wrong there is shown in tests/training/test_layouts.py."""

from typing import Any

import pytest

from megatron_lrps.campaign.resharding import RESHARDABLE, SAVED_BY, refuse_lossy_saves, refuse_other_layout
from megatron_lrps.errors import RefusedError

PLAIN: dict[str, Any] = {
    "tensor_model_parallel_size": 2,
    "pipeline_model_parallel_size": 1,
    "virtual_pipeline_model_parallel_size": None,
    "data_parallel_size": 4,
    "untie_embeddings_and_output_weights": True,
}
SPREAD = {**PLAIN, "use_distributed_optimizer": True}
RESHARDED = {**SPREAD, RESHARDABLE: True}
OVERLAPPED = {**SPREAD, "overlap_grad_reduce": True, "ddp_bucket_size": None}
MOVES = [
    {"tensor_model_parallel_size": 1, "data_parallel_size": 8},
    {"pipeline_model_parallel_size": 2, "data_parallel_size": 2},
    {"data_parallel_size": 2},
    {"context_parallel_size": 2, "data_parallel_size": 2},
]


def refusal(checkpoint: dict[str, Any], allow: tuple[str, ...] = (), **changed: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        refuse_other_layout(checkpoint, {**checkpoint, **changed}, "main/iter_0000400", allow=allow)
    return str(refused.value)


@pytest.mark.parametrize("move", MOVES)
def test_state_stored_by_parameter_moves(move: dict[str, Any]) -> None:
    refuse_other_layout(PLAIN, {**PLAIN, **move}, "c")
    refuse_other_layout(RESHARDED, {**RESHARDED, **move}, "c")


@pytest.mark.parametrize("move", [*MOVES, {"virtual_pipeline_model_parallel_size": 2}])
def test_state_stored_by_rank_does_not(move: dict[str, Any]) -> None:
    assert "does not move the distributed optimizer's state" in refusal(SPREAD, **move)


def test_both_layouts_and_the_fix_are_named() -> None:
    text = refusal(SPREAD, tensor_model_parallel_size=1, data_parallel_size=8)
    assert "The layout is TP=1 DP=8 in this run, TP=2 DP=4 in main/iter_0000400" in text
    assert "run with TP=2 DP=4" in text


def test_another_expert_layout_is_refused_whatever_the_optimizer() -> None:
    for checkpoint in (PLAIN, SPREAD, RESHARDED):
        text = refusal(checkpoint, expert_model_parallel_size=2)
        assert "EP=2 in this run, EP=1 in" in text
        assert "run with --expert-model-parallel-size 1" in text


def test_the_same_layout_passes() -> None:
    for checkpoint in (PLAIN, SPREAD, RESHARDED, OVERLAPPED):
        refuse_other_layout(checkpoint, dict(checkpoint), "c")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"overlap_grad_reduce": False}, "--overlap-grad-reduce=False in this run, --overlap-grad-reduce=True in"),
        ({"ddp_bucket_size": 1000}, "--ddp-bucket-size=1000 in this run, --ddp-bucket-size=1 in"),
        ({"decoder_first_pipeline_num_layers": 3}, "--decoder-first-pipeline-num-layers=3 in this run"),
    ],
)
def test_other_buckets_are_another_layout(changed: dict[str, Any], words: str) -> None:
    assert words in refusal(OVERLAPPED, **changed)


def test_a_bucket_size_that_nothing_reads_may_change() -> None:
    refuse_other_layout(SPREAD, {**SPREAD, "ddp_bucket_size": 1000}, "c")


TIED = {**RESHARDED, "pipeline_model_parallel_size": 2, "untie_embeddings_and_output_weights": False}


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ({**RESHARDED, "overlap_grad_reduce": True}, "--overlap-grad-reduce cuts the gradients into buckets"),
        (TIED, "tied embeddings have a bucket of their own"),
    ],
)
def test_saves_at_wrong_offsets_are_refused_and_their_checkpoints_too(run: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        refuse_lossy_saves(run)
    assert why in refusal(run)
    refuse_lossy_saves(run, [RESHARDABLE])
    refuse_other_layout(run, run, "c", allow=[RESHARDABLE])


@pytest.mark.parametrize("run", [PLAIN, SPREAD, RESHARDED, OVERLAPPED, {**TIED, RESHARDABLE: False}])
def test_sound_saves_pass(run: dict[str, Any]) -> None:
    refuse_lossy_saves(run)


@pytest.mark.parametrize("run", [{**RESHARDED, "overlap_grad_reduce": True}, TIED])
def test_a_release_that_saves_all_buckets_right_is_let_and_an_older_ones_checkpoint_is_not(run: dict[str, Any]) -> None:
    mended, older = {**run, SAVED_BY: "0.20.0"}, {**run, SAVED_BY: "0.19.2"}
    refuse_lossy_saves(mended)
    refuse_other_layout(mended, {**mended, "data_parallel_size": 2}, "c")
    with pytest.raises(RefusedError, match=r"megatron-core before 0\.20 then saves"):
        refuse_lossy_saves(older)
    with pytest.raises(RefusedError, match="a run would go on with other weights"):
        refuse_other_layout(older, mended, "c")
