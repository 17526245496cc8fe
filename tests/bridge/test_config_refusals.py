"""What a path cannot be trained with is refused by its place in the config, with the reason and what to set."""

from types import SimpleNamespace as Config
from typing import Any

import pytest

from megatron_lrps.bridge.config_refusals import refuse_several, refuse_uncountable, refuse_unfit
from megatron_lrps.errors import RefusedError
from megatron_lrps.schedule import Batches


def config(**sections: dict[str, Any]) -> Config:
    """A config with these sections; what it lacks is as in a release of Bridge without it."""
    return Config(**{"model": Config(), **{name: Config(**held) for name, held in sections.items()}})


def test_what_is_as_it_should_be_passes() -> None:
    refuse_unfit(config())
    refuse_unfit(config(checkpoint={"ckpt_format": "torch_dist", "save_optim": True, "most_recent_k": -1}))
    refuse_unfit(config(train={"iterations_to_skip": [], "rampup_batch_size": None}))


@pytest.mark.parametrize(
    ("section", "field", "value", "reason"),
    [
        ("checkpoint", "finetune", True, "it drops the optimizer and the position"),
        ("checkpoint", "non_persistent_save_interval", 50, "checkpoints that are not kept"),
        ("checkpoint", "most_recent_k", 3, "it deletes fork points"),
        ("checkpoint", "custom_manager_class", "theirs.Manager", "a manager of its own"),
        ("checkpoint", "save_optim", False, "is no fork point"),
        ("train", "rampup_batch_size", [2, 2, 8], "iterations of one global_batch_size"),
        ("train", "iterations_to_skip", [7], "other samples"),
        ("scheduler", "override_opt_param_scheduler", True, "the plan is the schedule"),
        ("inprocess_restart", "enabled", True, "a process decides once"),
        ("dist", "use_torch_fsdp2", True, "not tried as fork points"),
        ("dataset", "fim_data", True, "a timeline has those of the windows"),
    ],
)
def test_a_setting_is_refused_by_its_place(section: str, field: str, value: Any, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        refuse_unfit(config(**{section: {field: value}}))
    assert f"config.{section}.{field} is {value!r}" in refused.value.what
    assert reason in refused.value.what
    assert f"set config.{section}.{field} = " in refused.value.fix


def test_an_adapter_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"config\.peft is .*an adapter's checkpoint is no fork point"):
        refuse_unfit(Config(model=Config(), peft="LoRA"))


def test_a_model_of_several_modules_is_refused() -> None:
    with pytest.raises(RefusedError, match="MegatronMIMO"):
        refuse_unfit(Config(model=Config(megatron_mimo_parallelism_config=None)))


def test_0_4_counts_in_32_bits() -> None:
    refuse_uncountable((0, 4), 2**31 - 1)
    refuse_uncountable((0, 5), 2**31)
    with pytest.raises(RefusedError, match="ends at sample 2,147,483,648, and Megatron-Bridge"):
        refuse_uncountable((0, 4), 2**31)


def test_a_batch_that_rises_is_refused() -> None:
    refuse_several(Batches.of(8))
    with pytest.raises(RefusedError, match=r"The plan's batch is 8 \(16 from iteration 5 on\)"):
        refuse_several(Batches.of(8, [(32, 16)]))
