"""Layouts that cannot train a plan, refused from the plan alone; each is one that Megatron refuses too."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.parallel_layout import few_microbatches, ranks_of, refuse_impossible_layout
from tests.plan.plans import assert_one_clear_line, plan_of

MODEL = {"num-layers": 12, "hidden-size": 48, "num-attention-heads": 12}
TP, PP, CP = "tensor-model-parallel-size", "pipeline-model-parallel-size", "context-parallel-size"
EP = "expert-model-parallel-size"
PER_STAGE, STAGES = "num-layers-per-virtual-pipeline-stage", "num-virtual-stages-per-pipeline-rank"


def plan(batch: int = 24, sequence: int = 24, **flags: Any) -> Plan:
    """24 samples of 24 tokens an iteration; ``flags`` are put over MODEL, None takes one away."""
    megatron = {key: value for key, value in {**MODEL, **flags}.items() if value is not None}
    return plan_of(global_batch_size=batch, sequence_length=sequence, megatron=megatron)


def test_the_cluster_decides_the_world_size_before_this_machine() -> None:
    slurm = {"nodes": 3, "gpus_per_node": 4}
    assert ranks_of(plan_of(launch={"slurm": slurm, "local": {"processes": 2}})) == 12
    assert ranks_of(plan_of(launch={"local": {"processes": 2}})) == 2
    assert ranks_of(plan_of()) == 1


def test_what_megatron_takes_passes() -> None:
    fits: list[tuple[int, dict[str, Any]]] = [
        (1, {}),
        (3, {"micro-batch-size": 4}),
        (24, {TP: 2, PP: 3, CP: 2, "micro-batch-size": 2}),  # DP 2
        (2, {TP: 2, "sequence-parallel": True}),
        (1, {"sequence-parallel": True}),  # Megatron turns it off
        (4, {TP: 4, "group-query-attention": True, "num-query-groups": 2}),
        (2, {TP: 2, "num-query-groups": 5}),  # unused without group-query-attention
        (1, {"num-attention-heads": 5, "kv-channels": 8}),
        (4, {PP: 4, PER_STAGE: 1}),
        (2, {PP: 2, STAGES: 3}),
        (2, {PP: 2, PER_STAGE: 6, "micro-batch-size": 24}),  # one virtual stage is none
        (1, {STAGES: 1}),
        (2, {PP: 2, "num-layers": 11, "account-for-loss-in-pipeline-split": True, PER_STAGE: 6, "batch": 1}),
        (4, {PP: 4, "num-layers": 10, "decoder-first-pipeline-num-layers": 1, "decoder-last-pipeline-num-layers": 1}),
        (2, {PP: 2, "num-layers": 11, "account-for-loss-in-pipeline-split": True}),
        (3, {PP: 3, "num-layers": 4, "pipeline-model-parallel-layout": "Et|tt|tL"}),
        (4, {EP: 4, "num-experts": 8}),
        (4, {TP: 2, "sequence-parallel": True, EP: 4, "num-experts": 8, "expert-tensor-parallel-size": 1}),
        (1, {"num-experts": 0}),
    ]
    for ranks, flags in fits:
        refuse_impossible_layout(plan(**flags), ranks)


def test_values_that_are_not_understood_are_left_to_megatron() -> None:
    for value in ("many", True, 0, -2, 1.5, [2, 3]):
        for flag in (TP, PP, CP, EP, "micro-batch-size", "num-layers", "hidden-size", "num-attention-heads"):
            refuse_impossible_layout(plan(**{flag: value}), 1)
    refuse_impossible_layout(plan(**{TP: 2, "tensor-parallel-num-weight-shards": 4}), 6)
    with pytest.raises(PlanError, match=f"{TP} 2"):
        refuse_impossible_layout(plan(**{TP: "2"}), 3)  # a number in quotes is one


@pytest.mark.parametrize(
    ("ranks", "flags", "says"),
    [
        (3, {TP: 2}, (f"megatron.{TP} 2, but there are 3 ranks", "a multiple of 2", "launch.local.processes")),
        (1, {TP: 2, PP: 2}, (f"{TP} 2 x megatron.{PP} 2 = 4, but there is 1 rank",)),
        (6, {CP: 4}, (f"megatron.{CP} 4, but there are 6 ranks",)),
        (5, {}, ("global_batch_size: 24", "5 data-parallel", "20 or 25")),
        (2, {"batch": 6, "micro-batch-size": 2}, ("global_batch_size: 6", "micro-batch-size 2 x 2", "4 or 8", "to 1")),
        (4, {"batch": 2}, ("global_batch_size: 2", "to 4,")),
        (1, {"hidden-size": 50}, ("megatron.hidden-size: 50", "num-attention-heads 12", "kv-channels")),
        (5, {TP: 5}, ("megatron.num-attention-heads: 12", f"{TP} 5")),
        (6, {TP: 6, "group-query-attention": True, "num-query-groups": 4}, ("num-query-groups: 4", f"{TP} 6")),
        (1, {"group-query-attention": True, "num-query-groups": 5}, ("heads: 12", "num-query-groups 5")),
        (4, {TP: 4, "ffn-hidden-size": 130}, ("ffn-hidden-size: 130", f"{TP} 4")),
        (3, {TP: 3, "swiglu": True}, ("ffn-hidden-size: 128", f"{TP} 3")),  # 48 x 4 x 2 / 3
        (5, {PP: 5}, ("megatron.num-layers: 12", f"{PP} 5", "decoder-first-pipeline-num-layers")),
        (2, {PP: 2, "account-for-loss-in-pipeline-split": True}, ("num-layers: 12 + 1 (account-for-loss",)),
        (3, {PP: 3, PER_STAGE: 3}, (f"{PER_STAGE}: 3", "the 4 layers of a stage")),
        (3, {PP: 3, STAGES: 3}, (f"{STAGES}: 3", "the 4 layers of a stage")),
        (1, {PER_STAGE: 2}, (f"{PER_STAGE}: 2 makes virtual stages, but {PP} is 1", "2 or more")),
        (2, {PP: 2, PER_STAGE: 2, "no-overlap-p2p-communication": True}, (f"let {PP} be 3 or more",)),
        (2, {PP: 2, PER_STAGE: 2, STAGES: 3}, (f"megatron.{PER_STAGE} is given beside {STAGES}",)),
        (2, {PP: 2, PER_STAGE: 2, "micro-batch-size": 24}, ("1 micro-batches", "groups of 2")),
        (2, {CP: 2, "sequence": 26}, ("sequence_length: 26", f"2 x {CP} 2", "multiple of 4")),
        (4, {TP: 4, "sequence-parallel": True, "sequence": 26}, ("sequence_length: 26", f"{TP} 4")),
        (1, {"tp-comm-overlap": True}, ("tp-comm-overlap", "(it is 1)")),
        (2, {EP: 2}, (f"{EP}: 2 is given without num-experts",)),
        (3, {EP: 3, "num-experts": 8}, ("num-experts: 8", f"{EP} 3")),
        (2, {TP: 2, "num-experts": 8}, ("num-experts: 8", "sequence-parallel: true")),
        (6, {EP: 4, "num-experts": 8}, (f"{EP} 4", "but there are 6 ranks")),
        (3, {"num-distributed-optimizer-instances": 2}, ("instances: 2", "DP x CP = 3")),
    ],
)  # fmt: skip
def test_what_cannot_train_is_refused_by_its_keys(ranks: int, flags: dict[str, Any], says: tuple[str, ...]) -> None:
    with pytest.raises(PlanError) as refusal:
        refuse_impossible_layout(plan(**flags), ranks)
    assert_one_clear_line(refusal.value, *says)


def test_virtual_stages_need_whole_groups_or_a_large_rest() -> None:
    assert [count for count in range(1, 10) if not few_microbatches(count, stages=3, group=3)] == [3, 6, 9]
    assert [count for count in range(1, 12) if not few_microbatches(count, stages=3, group=4)] == [4, 7, 8, 11]
