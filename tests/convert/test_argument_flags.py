"""Megatron's arguments as a plan's flags: those of every family are what its own lines say."""

from typing import Any

import pytest
import transformers
from convert.hugging_face import CONFIGS, VOCAB
from convert.models import LLAMA_MODEL

from megatron_lrps.convert.argument_flags import (
    all_arguments,
    arguments_of_flags,
    flags_of_arguments,
    refuse_other_flags,
)
from megatron_lrps.convert.huggingface_config import model_of_config
from megatron_lrps.convert.model_arguments import args_of, is_of_family
from megatron_lrps.convert.model_flags import lines_of_flags, plan_lines
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan

ARGS = args_of(LLAMA_MODEL)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_lines_are_those_of_the_family(name: str) -> None:
    kind, config = CONFIGS[name]
    made = getattr(transformers, f"{kind}Config")(**config).to_dict()
    model = model_of_config({**made, "architectures": None}, name)
    args = args_of(model)
    lines = set(lines_of_flags(flags_of_arguments(args, name), "weights"))
    # Megatron makes GPT-2's width of the MLP by itself, which is said all the same.
    assert lines - {"ffn-hidden-size: 256"} == set(plan_lines(model, "weights")) - {"ffn-hidden-size: 256"}
    assert is_of_family(all_arguments(args), VOCAB)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rotary_base": 10000.5}, "megatron.rotary-base: 10000.5 is not a whole number"),
        ({"rotary_seq_len_interpolation_factor": 1.5}, "1.5 is not a whole number"),
        ({"normalization": "L2Norm"}, "'L2Norm' is not one of LayerNorm, RMSNorm"),
        ({"swiglu": False, "openai_gelu": True}, "--openai-gelu True, which no flag in a plan can say"),
    ],
)
def test_what_no_flag_can_say_is_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedError) as refused:
        flags_of_arguments({**ARGS, **changed}, "config.json")
    assert says in str(refused.value)


def test_patterns_are_read_as_megatron_reads_them() -> None:
    read = arguments_of_flags({"moe-layer-freq": "([0]*2+[1,0]*2)", "window-size": "15,0", "num-layers": False})
    assert read == {"moe_layer_freq": [0, 0, 1, 0, 1, 0], "window_size": [15, 0]}
    assert arguments_of_flags({"hybrid-layer-pattern": "M*|-E/*-"})["num_layers"] == 4
    assert arguments_of_flags({"disable-bias-linear": True}) == {"add_bias_linear": False}


def test_a_plan_of_another_model_is_refused_with_the_lines_that_fit() -> None:
    flags = flags_of_arguments({**ARGS, "rotary_base": 500000}, "m")

    def refuse(**megatron: Any) -> None:
        megatron = {name.replace("_", "-"): value for name, value in megatron.items()}
        plan = {"campaign": "c", "save": ".", "sequence_length": 32, "global_batch_size": 4, "megatron": megatron}
        plan["versions"] = [{"name": "v1", "iters": 8, "train": [[1.0, "a"]]}]
        refuse_other_flags(Plan.model_validate(plan), flags, "weights", "m")

    refuse(**flags)
    refuse(**{**flags, "kv-channels": 16, "tensor-model-parallel-size": 2})
    for changed, says in (
        ({"rotary-base": False}, "--rotary-base is 10000, m has 500000"),
        ({"qk-layernorm": True}, "--qk-layernorm is True, m has False"),
        ({"swiglu": False, "squared-relu": True}, "--squared-relu is True, m has False"),
        ({"hidden-size": False}, "--hidden-size is None, m has 64"),
    ):
        with pytest.raises(RefusedError) as refused:
            refuse(**{**flags, **changed})
        assert says in str(refused.value)
        assert "put these under `megatron:`\n  num-layers: 2\n" in str(refused.value)
