"""``branch.sequence_length``: what a branch of another length changes, and what is refused."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.monitor.pictures.axis import axis_of
from megatron_lrps.plan import Tree
from megatron_lrps.plan.cost import campaign_gpu_hours, gpu_hours, model_size
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.vocabulary import Vocabulary
from tests.plan.plans import assert_one_clear_line, tree_of

ROPE = {"position-embedding-type": "rope", "num-layers": 2, "hidden-size": 64, "num-attention-heads": 4}
LONG = {"data": [[1.0, "data/books"]], "sequence_length": 64, "megatron": {"rotary-base": 500000}}


def long_tree(branch: dict[str, Any] | None = None, **megatron: Any) -> Tree:
    """Samples of 16 tokens; v2's branch (1400, 2000] has others."""
    versions = [{"name": "v1", "iters": 1000}, {"name": "v2", "iters": 1000, "branch": {**LONG, **(branch or {})}}]
    return tree_of(versions=versions, megatron={**ROPE, **megatron})


def test_only_the_branch_has_its_flags() -> None:
    tree = long_tree({"megatron": {"rotary-base": 500000, "context-parallel-size": 2}})
    asked = ("seq-length", "max-position-embeddings", "rotary-base", "context-parallel-size")
    flags = {path.name: path_flags(tree, path) for path in tree.paths}
    assert [flags["v2"][name] for name in asked] == [64, 64, 500000, 2]
    for name in ("main", "v1"):
        assert [flags[name].get(flag) for flag in asked] == [16, 16, None, None]


def test_positions_are_at_least_its_length() -> None:
    for given, expected in ((16, 64), (128, 128)):
        tree = long_tree(**{"max-position-embeddings": given})
        assert path_flags(tree, tree.path("v2"))["max-position-embeddings"] == expected
        assert path_flags(tree, tree.path("main"))["max-position-embeddings"] == given


def test_tokens_and_gpu_hours_are_its_own() -> None:
    tree = long_tree()
    path = tree.path("v2")
    assert [tree.tokens(path, at) for at in (1400, 1401, 2000)] == [
        1400 * 128,
        1400 * 128 + 512,
        1400 * 128 + 600 * 512,
    ]
    assert tree.tokens(tree.path("main"), 1400) == 1400 * 128
    vocabulary = Vocabulary(128)
    short, long = tree.plan, tree.plan_of(path)
    parts = []
    for plan, iterations in ((short, 1400 + 600), (long, 600)):
        size = model_size(plan, vocabulary)
        assert size is not None
        parts.append(gpu_hours(iterations * plan.global_batch_size, size, 1.0))
    assert campaign_gpu_hours(tree, vocabulary, 1.0) == pytest.approx(sum(parts))
    assert parts[1] > 4 * parts[0] * 600 / 2000  # four times the tokens, and attention over more of them


def test_an_axis_of_tokens_has_one_scale_or_none() -> None:
    assert axis_of(tree_of().plan, "tokens").unit == 128
    assert axis_of(long_tree().plan, "samples").unit == 8
    with pytest.raises(RefusedError, match="main has samples of 16 tokens, and a branch of 64"):
        axis_of(long_tree().plan, "tokens")


@pytest.mark.parametrize(
    ("branch", "megatron", "words"),
    [
        (
            {"data": "window"},
            {},
            ["branch.sequence_length: 64 is given for v2, which reads windows (window)", "a blend"],
        ),
        ({"data": "mixed"}, {}, ["which reads windows (mixed)", "cut for 16 tokens"]),
        ({}, {"position-embedding-type": "learned_absolute"}, ["is learned_absolute: a table of 16 rows"]),
        ({}, {"position-embedding-type": "relative"}, ["position-embedding-type is relative, which is not supported"]),
        ({}, {"vocab-file": "vocab.json"}, ["megatron.vocab-file", "same max-position-embeddings"]),
        ({"megatron": {"hidden-size": 32}}, {}, ["branch.megatron.hidden-size: 32", "main has trained", "rotary-base"]),
        ({"sequence_length": None}, {}, ["branch.megatron.rotary-base: v2 has it without a sequence_length"]),
    ],
)
def test_what_cannot_be_loaded_is_refused(branch: dict[str, Any], megatron: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(PlanError) as refusal:
        long_tree(branch, **megatron)
    assert_one_clear_line(refusal.value, *words)


def test_a_flag_that_megatron_does_not_have_is_refused() -> None:
    tree = long_tree({"megatron": {"rotary-bass": 1}})
    with pytest.raises(PlanError, match="did you mean rotary-base"):
        path_flags(tree, tree.path("v2"))
