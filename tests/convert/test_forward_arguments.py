"""Every argument of Megatron's that changes the forward pass is read or held at a value that changes nothing."""

from typing import Any

import pytest
from convert.models import LLAMA_MODEL

from megatron_lrps.convert.architecture import Latent, Mamba, Model, Yarn
from megatron_lrps.convert.forward_arguments import (
    IGNORED,
    OTHER_RELEASES,
    OTHER_VALUES,
    READ,
    not_computed,
    refuse_other_forward,
)
from megatron_lrps.convert.model_arguments import args_of, model_of_args
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.megatron_arguments import CLASSES, arguments

FORWARD = sorted(name for name, each in arguments().items() if each.in_class in ("size", "model"))


def other_value(name: str) -> Any:
    """A value that an argument does not have by default."""
    argument = arguments()[name]
    if argument.kind == "switch":
        return not argument.default
    others = [choice for choice in argument.choices if choice != argument.default]
    number = argument.kind.startswith(("int", "float"))
    return others[0] if others else (argument.default or 0) + 3 if number else "3"


@pytest.mark.parametrize("name", FORWARD)
def test_every_argument_of_the_forward_pass_is_read_ignored_or_refused(name: str) -> None:
    """The table's own test compares it with Megatron's parser: a new argument fails there until it has a class."""
    assert (name in READ) + (name in IGNORED) + (name in OTHER_VALUES) <= 1
    if name in READ | IGNORED:
        return
    args = args_of(LLAMA_MODEL) | {name: other_value(name)}
    if name == "yarn_correction_range_round_to_int":
        args[name] = False
    with pytest.raises(RefusedError, match=f"--{name.replace('_', '-')} "):
        model_of_args(args, 111)


def test_what_a_model_is_made_of_is_read_and_nothing_else() -> None:
    made: set[str] = set()
    yarn = {"yarn": Yarn(factor=2.0, original=64)}
    latent = {"family": "deepseek_v3", "latent": Latent(queries=24, keys=16, plain=16, turned=8, value=12)}
    gpt2 = {"family": "gpt2", "ungated": "gelu", "groups": 4, "bias": True}
    hybrid = {"family": "nemotron_h", "pattern": "M*", "mamba": Mamba(heads=4, width=16, state=16, groups=2)}
    for change in ({}, gpt2, {"experts": 2, "top_k": 2}, yarn, latent, hybrid):
        made |= args_of(Model(**{**LLAMA_MODEL.__dict__, **change})).keys()
    # The first is of class `performance` and chooses GPT-2's activation, the other an older name of the pattern.
    assert made - {"bias_gelu_fusion"} == READ - {"hybrid_override_pattern"}


def test_no_class_but_size_and_model_is_said_to_change_the_forward_pass() -> None:
    assert [name for name, each in CLASSES.items() if "forward" in each.does or "another model" in each.does] == [
        "size",
        "model",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("moe_router_load_balancing_type", "sinkhorn"),
        ("moe_router_load_balancing_type", ["aux_loss", "quantile_balancing"]),
        ("spec", ["my.module", "layer_spec"]),
        ("yaml_cfg", "model.yaml"),
        ("heterogeneous_layers_config_path", "layers.json"),
        ("softmax_scale", 0.2),
        ("my_router_noise", 0.1),
    ],
)
def test_what_was_exported_and_computed_something_else_is_named(name: str, value: Any) -> None:
    with pytest.raises(RefusedError, match=f"--{name.replace('_', '-')}.* "):
        refuse_other_forward(args_of(LLAMA_MODEL) | {name: value})


def test_what_is_off_or_allowed_or_our_own_is_no_reason_to_refuse() -> None:
    args = args_of(LLAMA_MODEL) | {"my_switch": False, "my_value": None, "lrps_identity": "{}", "my_tag": "run 7"}
    with pytest.raises(RefusedError, match=r"--my-tag run 7.* add --allow my_tag"):
        refuse_other_forward(args)
    refuse_other_forward(args, allow=["my_tag"])
    for value in ("aux_loss", ["seq_aux_loss", "none"], []):
        refuse_other_forward(args_of(LLAMA_MODEL) | {"moe_router_load_balancing_type": value})


def test_what_another_release_saves_is_no_reason_to_refuse_unless_it_computes_something_else() -> None:
    assert not OTHER_RELEASES & arguments().keys()
    refuse_other_forward({**dict.fromkeys(OTHER_RELEASES, "set"), "hybrid_attention_ratio": 0.0})
    with pytest.raises(
        RefusedError, match=r"--hybrid-attention-ratio 0\.5, an argument that megatron-core 0\.19 does not"
    ):
        refuse_other_forward({"hybrid_attention_ratio": 0.5})
    with pytest.raises(RefusedError, match="--enable-mhc-connections True"):
        refuse_other_forward({"enable_mhc_connections": True, "mhc_num_residual_streams": 4})


@pytest.mark.parametrize("name", ["hybrid_layer_pattern", "hybrid_override_pattern"])
def test_layers_that_no_cpu_computes_are_named_under_either_name_of_the_pattern(name: str) -> None:
    assert not_computed({**args_of(LLAMA_MODEL), name: "M-|*E"}) is None
    assert not_computed({**args_of(LLAMA_MODEL), name: "MG*"}) == name
