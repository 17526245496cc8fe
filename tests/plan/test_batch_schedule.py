"""A batch that rises by Megatron's flags: windows, forks, curves, flags and cost, and what is refused."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.monitor.pictures.axis import axis_of
from megatron_lrps.plan import expand
from megatron_lrps.plan.batch_schedule import RAMP, STEPS, batches_by_arguments, batches_by_flags
from megatron_lrps.plan.cost import cost_of
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.parallel_layout import refuse_impossible_layout
from megatron_lrps.schedule import Batches
from tests.plan.plans import assert_one_clear_line, plan_of, tree_of, versions

RISING = {RAMP: [2, 2, 1200]}
"""To a batch of 8: 2 until sample 400, 4 until 800, 6 until 1,202 (6 does not divide 400), then 8; in iterations 200,
100 and 67."""
BATCHES = Batches.of(2, [(400, 4), (800, 6), (1200, 8)])


def test_a_ramp_has_a_step_for_each_increment() -> None:
    assert plan_of(megatron=RISING).batches == BATCHES
    assert BATCHES.to_json() == [[0, 2], [400, 4], [800, 6], [1202, 8]]


@pytest.mark.parametrize("steps", ["0:2 6400:4 12.8K:6 19200:8", "0:2,6.4K:4,12800:6,19.2k:8"])
def test_steps_are_at_tokens(steps: str) -> None:
    assert plan_of(megatron={STEPS: steps}).batches == BATCHES  # 16 tokens a sample


def test_megatron_counts_them_alike() -> None:
    from megatron.core.num_microbatches_calculator import StepBatchsizeNumMicroBatchesCalculator

    flag = path_flags(tree := tree_of(megatron=RISING), tree.path("main"))[STEPS]
    theirs = StepBatchsizeNumMicroBatchesCalculator(1, 1, False, 1, str(flag), 16)
    consumed = 0
    for iteration in range(500):
        theirs.update(consumed, True)
        assert (theirs.get_current_global_batch_size(), consumed) == (
            BATCHES.batch_after(iteration),
            BATCHES.samples(iteration),
        )
        consumed += theirs.get_current_global_batch_size()


def test_every_path_gets_the_steps_in_tokens_of_its_own_samples() -> None:
    own = {"data": [[1.0, "./long"]], "sequence_length": 64}
    long = tree_of(
        megatron={**RISING, "position-embedding-type": "rope", "max-position-embeddings": 16},
        versions=versions(1000, 1000, branch=own),
    )
    flags = {path.name: path_flags(long, path) for path in long.paths}
    assert flags["main"][STEPS] == "0:2 6400:4 12800:6 19232:8"
    assert flags["v1"][STEPS] == "0:2 25600:4 51200:6 76928:8"
    assert all("global-batch-size" not in each and RAMP not in each for each in flags.values())
    assert {long.plan_of(path).batches for path in long.paths} == {BATCHES}


def test_forks_and_ends_are_found_in_samples() -> None:
    tree = tree_of(megatron=RISING, paradigm=["lrps", "ptfs", "cpt"], lr={"warmup_iters": 250})
    end = 1202 + (1000 - 367) * 8
    held, decay = tree.path("v1").schedule.segments[1:]
    assert (held.start, held.end, decay.start, decay.end) == (600, 1466, 1466, end)  # forks at 400, in the batch of 8
    assert tree.path("ptfs-v2").schedule.segments[-1].end == tree.path("v2").schedule.segments[-1].end == end + 8000
    assert (tree.path("cpt-v2").fork, tree.path("cpt-v2").schedule.segments[-1].start) == (1000, end)
    assert tree.samples(tree.path("main")) == BATCHES.samples(1400)
    assert tree.tokens(tree.path("v1"), 1000) == end * 16


def test_windows_by_samples_and_tokens_end_with_an_iteration() -> None:
    ended = {
        size: expand(plan_of(megatron=RISING, versions=[{"name": "v1", **dict([size])}, *versions(1000, 9)[1:]]))
        for size in (("samples", 6266), ("tokens", 6273 * 16), ("iters", 1000))
    }
    assert {tree.windows[0].end for tree in ended.values()} == {1000}
    with pytest.raises(PlanError) as caught:
        tree_of(megatron=RISING, versions=[{"name": "v1", "samples": 6264}])
    assert_one_clear_line(caught.value, "versions.v1.samples: 6264 does not end with an iteration", "6258 or 6266")


def test_cost_is_compared_in_samples() -> None:
    tree = tree_of(megatron=RISING)
    cost = cost_of(tree)
    first, second = BATCHES.samples(1000), BATCHES.samples(2000)
    assert (cost.ptfs, cost.samples["ptfs"], cost.samples["cpt"]) == (3000, first + second, second)
    lrps = BATCHES.samples(1400) + 2 * 600 * 8
    assert (cost.lrps, cost.samples["lrps"]) == (2600, lrps)
    assert cost.share_of_ptfs == lrps / (first + second)
    assert cost_of(tree_of()).share_of_ptfs == 2600 / 3000


def test_a_branch_across_a_step_is_refused() -> None:
    for steps in ("0:4 11200:8", "0:4 15900:8"):  # samples 700 and 994, and v1 decays over (40, 100] iterations
        with pytest.raises(PlanError) as caught:
            tree_of(megatron={STEPS: steps}, versions=versions(250, 1000))
        assert_one_clear_line(caught.value, "path v1: it decays over the iterations (100, 250]", "from 4 to 8", "400")
    tree_of(megatron={STEPS: "0:4 6400:8"}, versions=versions(250, 1000))  # at the fork
    tree_of(megatron={STEPS: "0:4 16000:8"}, versions=versions(250, 1000))  # at v1's end
    merged = tree_of(megatron={STEPS: "0:4 15000:8"}, versions=versions(250, 1000), merge={"window": 0.5})
    plain = tree_of(versions=versions(250, 1000), merge={"window": 0.5})
    assert merged.path("v1").mean == plain.path("v1").mean


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({RAMP: [2, 2]}, "three whole numbers"),
        ({RAMP: [2, 4, 1200]}, "does not rise from 2 to global_batch_size 8 in steps of 4"),
        ({RAMP: [2, 2, 2]}, "2 samples are fewer than its 3 steps"),
        ({RAMP: [2, 2, 1200], STEPS: "0:8"}, "is given beside step-batch-size-schedule"),
        ({STEPS: "0:2 640:6"}, "ends with a batch of 6, and global_batch_size is 8"),
        ({STEPS: "0:2 640:16 1280:8"}, "the batch goes from 16 to 8"),
        ({STEPS: "64:8"}, "its first step is not at 0 tokens"),
        ({STEPS: "0:2 640x8"}, "'640x8' is not TOKENS:BATCH"),
        ({STEPS: True}, "is not TOKENS:BATCH"),
    ],
)
def test_impossible_batches_are_refused(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError) as caught:
        tree_of(megatron=flags)
    assert_one_clear_line(caught.value, "megatron.", words)


def test_every_batch_must_divide_among_the_replicas() -> None:
    plan = plan_of(megatron={**RISING, "micro-batch-size": 2})
    refuse_impossible_layout(plan, 1)
    with pytest.raises(PlanError) as caught:
        refuse_impossible_layout(plan, 2)
    assert_one_clear_line(caught.value, "a step of the batch: 2 is not a multiple of micro-batch-size 2 x 2")


def test_a_branch_has_no_batches_of_its_own() -> None:
    own = {"data": [[1.0, "./long"]], "sequence_length": 64, "megatron": {STEPS: "0:8"}}
    with pytest.raises(PlanError) as caught:
        tree_of(megatron={"position-embedding-type": "rope"}, branch=own)
    assert_one_clear_line(caught.value, f"branch.megatron.{STEPS}", "keeps main's batch")


def test_the_arguments_of_a_checkpoint_say_its_batches() -> None:
    known = {"global_batch_size": 8, "seq_length": 16}
    assert batches_by_arguments(known) == Batches.of(8)
    assert batches_by_arguments({**known, "rampup_batch_size": ["2", "2", "1200"]}) == BATCHES
    # Since 0.18 Megatron ignores the ramp.
    newer = {**known, "rampup_batch_size": [2, 2, 1200], "step_batch_size_schedule": None}
    assert batches_by_arguments(newer) == Batches.of(8)
    assert batches_by_arguments({**newer, "step_batch_size_schedule": "0:2 64:8"}) == Batches.of(2, [(4, 8)])
    assert batches_by_arguments({"seq_length": 16}) is None


def test_pictures_over_samples_have_no_one_scale() -> None:
    plan = plan_of(megatron=RISING)
    assert axis_of(plan, "iterations").unit == 1
    for name in ("samples", "tokens"):
        with pytest.raises(Exception, match="no one scale"):
            axis_of(plan, name)


def test_no_flag_is_one_batch() -> None:
    assert batches_by_flags({}, 8, 16) == batches_by_flags({RAMP: False}, 8, 16) == Batches.of(8)
