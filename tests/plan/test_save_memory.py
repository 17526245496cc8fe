"""The host memory of a save, by hand."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.cost import model_size
from megatron_lrps.plan.save_memory import SaveMemory, bytes_of, refuse_small_memory, save_memory
from tests.plan.plans import assert_one_clear_line, plan_of

MODEL = {"num-layers": 80, "hidden-size": 8192, "num-attention-heads": 64, "bf16": True}


def on_slurm(nodes: int, mem: str | None = None, **flags: Any) -> Plan:
    slurm = {"nodes": nodes, "gpus_per_node": 8, **({"mem": mem} if mem else {})}
    named = {key.replace("_", "-"): value for key, value in flags.items()}
    return plan_of(megatron=MODEL | named, launch={"slurm": slurm})


def staged(plan: Plan, gpus: int | None = None) -> SaveMemory:
    size = model_size(plan)
    assert size is not None
    return save_memory(plan, size, gpus)


def test_a_node_stages_its_share_and_twice_that_if_it_saves_asynchronously() -> None:
    plan = on_slurm(4)
    size = model_size(plan)
    assert size is not None
    assert staged(plan) == SaveMemory(bytes=size.checkpoint_bytes // 4, asynchronous=False, gpus=32, gpus_per_node=8)
    assert staged(plan, gpus=64).bytes == size.checkpoint_bytes // 8
    later = on_slurm(4, async_save=True, use_persistent_ckpt_worker=True)
    assert staged(later).bytes == 2 * (size.checkpoint_bytes // 4)
    here = plan_of(megatron=MODEL)
    assert staged(here, gpus=4).bytes == size.checkpoint_bytes  # without Slurm all ranks are on one node


def test_where_one_replica_writes_its_nodes_stage_everything() -> None:
    plan = on_slurm(8, no_ckpt_fully_parallel_save=True, tensor_model_parallel_size=8, pipeline_model_parallel_size=4)
    size = model_size(plan)
    assert size is not None
    # 64 ranks: a stage is 16 ranks, two nodes, of which the first one writes.
    assert staged(plan).bytes == size.checkpoint_bytes // 4


@pytest.mark.parametrize(
    ("mem", "size"),
    [("64G", 64 * 2**30), ("2000", 2000 * 2**20), ("1T", 2**40), ("64GB", 64 * 2**30), ("0", None), ("all", None)],
)
def test_memory_as_sbatch_takes_it(mem: str, size: int | None) -> None:
    assert bytes_of(mem) == size


def test_less_memory_than_a_save_takes_is_refused() -> None:
    plan = on_slurm(4, "100G")
    with pytest.raises(PlanError) as refused:
        refuse_small_memory(plan, model_size(plan))
    gigabytes = -(-staged(plan).bytes // 2**30)
    assert_one_clear_line(refused.value, "launch.slurm.mem: 100G", f"{gigabytes} GiB", "more nodes")
    for mem in ("0", None, f"{gigabytes}G"):
        refuse_small_memory(on_slurm(4, mem), model_size(plan))
