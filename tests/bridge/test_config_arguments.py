"""Bridge's config by Megatron's names: what is compared with a checkpoint, and with the plan's flags."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_lrps.bridge.config_arguments import plain_arguments, refuse_other_flags, run_arguments
from megatron_lrps.campaign.same_run import refuse_other_loop, refuse_other_run
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import load_plan
from tests.training.campaigns import write_campaign


@dataclass
class Model:
    """What a model provider has, as far as it is tested."""

    num_layers: int = 2
    layernorm_epsilon: float = 1e-5
    qk_gain: float = 1.0
    activation_func: Any = torch.nn.functional.silu
    gated_linear_unit: bool = True
    share_embeddings_and_output_weights: bool = False
    params_dtype: torch.dtype = torch.bfloat16
    tp_comm_overlap_ag: bool = False
    finalize_model_grads_func: Any = None
    timers: Any = field(default_factory=object)


@dataclass
class Train:
    micro_batch_size: int = 2
    global_batch_size: int = 4
    unknown_to_megatron: int = 1


@pytest.fixture(autouse=True)
def one_rank() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def arguments(allow: tuple[str, ...] = (), **model: Any) -> Any:
    config = SimpleNamespace(model=Model(**model), train=Train(), data_parallel_size=1)
    return run_arguments(config, allow, end=11)


def test_fields_have_megatrons_names() -> None:
    args = arguments()
    assert (args.num_layers, args.norm_epsilon, args.micro_batch_size, args.train_iters) == (2, 1e-5, 2, 11)
    assert (args.swiglu, args.untie_embeddings_and_output_weights) == (True, True)
    assert not hasattr(args, "layernorm_epsilon")
    assert not hasattr(args, "unknown_to_megatron")
    assert not hasattr(args, "timers")


def test_what_a_checkpoint_carries_is_json_and_fits_itself() -> None:
    args = arguments()
    carried = json.loads(json.dumps(plain_arguments(args)))
    assert carried["params_dtype"] == "torch.bfloat16"
    refuse_other_run(carried, vars(arguments()), "checkpoint")


def test_another_model_is_refused_and_another_speed_is_not() -> None:
    carried = plain_arguments(arguments())
    refuse_other_run(carried, vars(arguments(tp_comm_overlap_ag=True, finalize_model_grads_func=print)), "checkpoint")
    with pytest.raises(RefusedError, match="--norm-epsilon: 1e-06 in this run, 1e-05 in checkpoint"):
        refuse_other_run(carried, vars(arguments(layernorm_epsilon=1e-6)), "checkpoint")
    with pytest.raises(RefusedError, match="--swiglu: False in this run, True in checkpoint"):
        refuse_other_run(carried, vars(arguments(activation_func=torch.nn.functional.relu)), "checkpoint")


def test_what_megatron_does_not_know_may_differ_if_it_is_allowed() -> None:
    carried = plain_arguments(arguments())
    with pytest.raises(RefusedError, match=r"--qk-gain: 2\.0 in this run, 1\.0 in checkpoint"):
        refuse_other_run(carried, vars(arguments(qk_gain=2.0)), "checkpoint")
    args = arguments(allow=("qk_gain",), qk_gain=2.0)
    refuse_other_run(carried, vars(args), "checkpoint", allow=args.lrps_allow)


def test_the_plans_flags_are_compared(tmp_path: Path) -> None:
    plan = load_plan(write_campaign(tmp_path))
    args = arguments()
    with pytest.raises(
        RefusedError, match=r"megatron\.hidden-size is 64 in the plan, and Bridge's config has no field"
    ):
        refuse_other_flags(plan, args)
    plan = plan.model_copy(update={"megatron": {"num-layers": 2, "micro-batch-size": 2, "save-interval": 7}})
    refuse_other_flags(plan, args)
    with pytest.raises(RefusedError, match=r"megatron\.num-layers is 2 in the plan, and 3 in Bridge's config"):
        refuse_other_flags(plan, arguments(num_layers=3))


def test_the_two_loops_do_not_continue_each_other() -> None:
    refuse_other_loop({}, {}, "checkpoint")
    refuse_other_loop(vars(arguments()), vars(arguments()), "checkpoint")
    with pytest.raises(RefusedError, match="was trained by Megatron-LM, and this run is Megatron-Bridge's"):
        refuse_other_loop({"num_layers": 2}, vars(arguments()), "checkpoint")
