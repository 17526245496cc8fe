"""The keys of Megatron's tensors, and the order of a weight's numbers in them."""

from dataclasses import replace

import pytest
import torch
import transformers
from convert.hugging_face import CONFIGS
from convert.models import LLAMA_MODEL

from megatron_lrps.convert.architecture import Latent, Model
from megatron_lrps.convert.huggingface_config import model_of_config
from megatron_lrps.convert.mapping import Weight, alias_of, other_key, stored_key, weights_of

WEIGHT = Weight(name="w", key="k", index=(2,), rows=((0, 6),), inner=(3,))


@pytest.mark.parametrize("layer", ["decoder.layers.", "decoder.layers.7."])
def test_a_norm_is_found_under_the_name_of_either_layer_spec(layer: str) -> None:
    fused, apart = f"{layer}mlp.linear_fc1.layer_norm_weight", f"{layer}pre_mlp_layernorm.weight"
    assert stored_key(fused, {fused}) == stored_key(fused, {fused, apart}) == fused
    assert stored_key(fused, {apart}) == other_key(fused) == apart
    assert stored_key(fused, set()) == fused
    assert other_key(f"{layer}mlp.linear_fc1.weight") == f"{layer}mlp.linear_fc1.weight"


def test_the_norms_of_multi_latent_attention_have_the_names_of_both_layer_specs() -> None:
    """Transformer Engine's layers keep them in the up projections, and a dense layer's in its MLP."""
    latent = Latent(queries=24, keys=16, plain=16, turned=8, value=12)
    change = {"family": "deepseek_v3", "latent": latent, "experts": 2, "dense": (True, False), "groups": 4}
    norms = {
        weight.key.removeprefix("decoder.layers.0."): weight.alias.removeprefix("decoder.layers.0.")
        for weight in weights_of(Model(**{**LLAMA_MODEL.__dict__, **change}))
        if weight.key.startswith("decoder.layers.0.") and "norm" in weight.key
    }
    assert norms == {
        "input_layernorm.weight": "",  # it stands apart in both
        "self_attention.linear_q_up_proj.layer_norm_weight": "self_attention.q_layernorm.weight",
        "self_attention.linear_kv_up_proj.layer_norm_weight": "self_attention.kv_layernorm.weight",
        "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
    }
    for fused, apart in norms.items():
        assert apart == "" or stored_key(apart, {fused}) == fused


def test_gate_and_up_take_turns_in_a_stack_and_come_back() -> None:
    rows = torch.arange(18).view(6, 3)  # three rows of the gate above three of the up projection
    weight = replace(WEIGHT, stacked=4, interleaved=True, transposed=True)
    assert weight.parts == [(2, 0), (2, 1), (2, 2), (2, 3)]
    assert weight.shape == (4, 3, 6)
    stacked = weight.from_megatron(rows)
    assert stacked[0].tolist() == [0, 9, 3, 12, 6, 15]
    assert torch.equal(weight.to_megatron(stacked), rows)
    bias = replace(weight, inner=(), transposed=False)
    assert bias.shape == (4, 6)
    assert bias.from_megatron(torch.arange(6)).tolist() == [0, 3, 1, 4, 2, 5]
    assert torch.equal(bias.to_megatron(bias.from_megatron(torch.arange(6))), torch.arange(6))


def test_a_weight_of_one_part_is_its_rows() -> None:
    assert WEIGHT.parts == [(2,)]
    assert WEIGHT.shape == (6, 3)
    assert not WEIGHT.whole
    assert replace(WEIGHT, transposed=True).shape == (3, 6)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_norm_has_the_two_names_that_an_import_writes(name: str) -> None:
    kind, config = CONFIGS[name]
    made = getattr(transformers, f"{kind}Config")(**config).to_dict()
    model = model_of_config({**made, "architectures": None}, name)
    weights = weights_of(model)
    keys = {weight.key for weight in weights}
    latent = model.latent is not None
    for weight in weights:
        assert alias_of(weight.key, keys, latent=latent) == weight.alias, weight.key
        if weight.alias:  # Transformer Engine's layers have the other one
            assert alias_of(weight.alias, keys - {weight.key} | {weight.alias}, latent=latent) == weight.key
