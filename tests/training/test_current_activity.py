"""What an evaluation says of itself, set by set."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.training import current_activity


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """All that this process tells, from when it holds its path on."""
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(current_activity.Teller, "tell", lambda self, what, **facts: said.append((what, facts)))
    monkeypatch.setattr(current_activity, "_evaluations", 0)
    monkeypatch.setattr(current_activity, "_teller", None)
    current_activity.begin(PathFolder(tmp_path), "mine")
    return said


def evaluate(iterations: int, *, micro_batches: int, chunks: int, given: int | None = None) -> None:
    """As Megatron: a forward step for each iteration, micro-batch and chunk."""
    args = Namespace(
        validation_set_names=["v1-web", "v1-code"],
        eval_iters=iterations,
        eval_micro_batch_size=2,
        eval_global_batch_size=2 * 4 * micro_batches,
        data_parallel_size=4,
    )
    with current_activity.counted(lambda data, model: (data, model), [None] * chunks, given, args) as step:
        for _ in range(iterations * micro_batches * chunks):
            assert step("data", model="model") == ("data", "model")


@pytest.mark.parametrize(("micro_batches", "chunks"), [(1, 1), (3, 1), (2, 4)])
def test_iterations_are_counted_on_each_set(
    told: list[tuple[str, dict[str, Any]]], micro_batches: int, chunks: int
) -> None:
    evaluate(2, micro_batches=micro_batches, chunks=chunks, given=2)
    evaluate(1, micro_batches=micro_batches, chunks=chunks)
    evaluate(1, micro_batches=micro_batches, chunks=chunks)
    counts = [(facts.get("name"), facts.get("done"), facts.get("total")) for _, facts in told[1:]]
    none = (None, None, None)  # training goes on
    assert counts == [
        *(("v1-web", 0, 2), ("v1-web", 1, 2), ("v1-web", 2, 2), none),
        *(("v1-code", 0, 1), ("v1-code", 1, 1), none),
        *(("v1-web", 0, 1), ("v1-web", 1, 1), none),
    ]
    assert [what for what, _ in told if what != "evaluating"] == ["starting", *["training"] * 3]


def test_a_save_says_its_iteration_and_then_that_training_goes_on(told: list[tuple[str, dict[str, Any]]]) -> None:
    assert current_activity.told("saving", lambda original, iteration, *rest: original)("done", 40, "state") == "done"
    assert told[1:] == [("saving", {"total": 40}), ("training", {})]


def test_other_ranks_count_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_activity, "_teller", None)

    def step() -> None: ...

    with current_activity.counted(step, [None], 1, Namespace()) as counting:
        assert counting is step
