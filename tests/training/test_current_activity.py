"""What an evaluation says of itself, set by set."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.training import current_activity
from megatron_lrps.training.current_activity import CurrentActivity

Said = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CurrentActivity, Said]:
    """All that this process tells, from when it holds its path on."""
    said: Said = []
    monkeypatch.setattr(current_activity.Teller, "tell", lambda self, what, **facts: said.append((what, facts)))
    activity = CurrentActivity()
    activity.begin(PathFolder(tmp_path), "mine")
    return activity, said


def evaluate(
    activity: CurrentActivity, iterations: int, *, micro_batches: int, chunks: int, given: int | None = None
) -> None:
    """As Megatron: a forward step for each iteration, micro-batch and chunk."""
    args = Namespace(
        validation_set_names=["v1-web", "v1-code"],
        eval_iters=iterations,
        eval_micro_batch_size=2,
        eval_global_batch_size=2 * 4 * micro_batches,
        data_parallel_size=4,
    )
    with activity.evaluating(lambda data, model: (data, model), [None] * chunks, given, args) as step:
        for _ in range(iterations * micro_batches * chunks):
            assert step("data", model="model") == ("data", "model")


@pytest.mark.parametrize(("micro_batches", "chunks"), [(1, 1), (3, 1), (2, 4)])
def test_iterations_are_counted_on_each_set(
    told: tuple[CurrentActivity, Said], micro_batches: int, chunks: int
) -> None:
    activity, said = told
    evaluate(activity, 2, micro_batches=micro_batches, chunks=chunks, given=2)
    evaluate(activity, 1, micro_batches=micro_batches, chunks=chunks)
    evaluate(activity, 1, micro_batches=micro_batches, chunks=chunks)
    counts = [(facts.get("name"), facts.get("done"), facts.get("total")) for _, facts in said[1:]]
    none = (None, None, None)  # training goes on
    assert counts == [
        *(("v1-web", 0, 2), ("v1-web", 1, 2), ("v1-web", 2, 2), none),
        *(("v1-code", 0, 1), ("v1-code", 1, 1), none),
        *(("v1-web", 0, 1), ("v1-web", 1, 1), none),
    ]
    assert [what for what, _ in said if what != "evaluating"] == ["starting", *["training"] * 3]


def test_a_save_says_its_iteration_and_then_that_training_goes_on(told: tuple[CurrentActivity, Said]) -> None:
    activity, said = told
    with activity.saving(40):
        assert said[1:] == [("saving", {"total": 40})]
    assert said[1:] == [("saving", {"total": 40}), ("training", {})]


def test_other_ranks_report_nothing_but_count_their_steps() -> None:
    activity = CurrentActivity()
    with activity.evaluating(lambda data: data, [None], 1, Namespace()) as step:
        assert [step("first"), step("second")] == ["first", "second"]
    assert activity.steps == 2
    activity.iterated(7)
    with activity.saving(7):
        assert (activity.steps, activity.iteration) == (4, 7)
    assert activity.steps == 5
    assert 0 < activity.longest_save < 1
