"""Bridge's description of a model is compared with a checkpoint's arguments, field by field."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from convert.models import LLAMA_MODEL

from megatron_lrps.convert import engines
from megatron_lrps.convert.bridge_arguments import Described, refuse_other_model, refuse_other_provider
from megatron_lrps.convert.bridge_export import engine_for
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.errors import RefusedError

ARGS = args_of(LLAMA_MODEL)
FIELDS: dict[str, Any] = {
    **{"num_layers": 2, "hidden_size": 64, "ffn_hidden_size": 96, "num_attention_heads": 4, "num_query_groups": 2},
    **{"kv_channels": None, "layernorm_epsilon": 1e-5, "normalization": "RMSNorm", "add_bias_linear": False},
    **{"gated_linear_unit": True, "activation_func": "torch.nn.functional.silu", "bias_activation_fusion": True},
    **{"share_embeddings_and_output_weights": False, "position_embedding_type": "rope", "rotary_base": 10000},
    **{"seq_length": 4096, "num_moe_experts": None, "softmax_scale": None, "apply_rope_fusion": True},
    **{"persist_layer_norm": True, "hf_model_id": "reference", "transformer_layer_spec": None},
}
"""Bridge's for the same model; a head is as wide as Megatron makes it by itself, and kernels are its own."""
BUILT_BY = "megatron.bridge.models.gpt_provider"


def described(built_by: str = BUILT_BY, **changed: Any) -> Described:
    return Described({**FIELDS, **changed}, {"softmax_scale": None}, built_by)


def test_the_same_model_passes() -> None:
    refuse_other_model(ARGS, described(), "config.json")
    refuse_other_provider(described(), described(apply_rope_fusion=False, hf_model_id=None), "config.json")


@pytest.mark.parametrize(
    ("arguments", "fields", "says"),
    [
        ({}, {"rotary_base": 500000}, "--rotary-base is 10000, config.json has 500000"),
        ({}, {"num_query_groups": None}, "--num-query-groups is 2, config.json has 4"),
        ({}, {"kv_channels": 32}, "--kv-channels is 16, config.json has 32"),
        ({}, {"share_embeddings_and_output_weights": True}, "--untie-embeddings-and-output-weights is True"),
        ({}, {"rope_scaling": True}, "--use-rope-scaling is False, config.json has True"),
        ({}, {"mtp_num_layers": 1}, "--mtp-num-layers is None, config.json has 1"),
        ({}, {"activation_func": "torch.nn.functional.relu"}, "a gated torch.nn.functional.relu"),
        ({"swiglu": False, "squared_relu": True}, {}, "--swiglu is False, config.json has True"),
        ({"window_size": (15, 0)}, {}, "--window-size is (15, 0), config.json has None"),
        ({"qk_l2_norm": True}, {}, "--qk-l2-norm is True, config.json has False"),
        ({}, {"softmax_scale": 0.1}, "sets softmax_scale to 0.1, and Megatron-LM has no argument for it"),
        ({}, {"logit_cap": 30.0}, "sets logit_cap to 30.0"),
        ({}, {"transformer_layer_spec": "megatron.bridge.models.gemma.spec"}, "a model of its own"),
        ({}, {"built_by": "megatron.bridge.models.gemma.gemma_provider"}, "a model of its own"),
    ],
)
def test_what_differs_is_named(arguments: dict[str, Any], fields: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedError) as refused:
        refuse_other_model({**ARGS, **arguments}, described(**fields), "config.json")
    assert says in str(refused.value)


def test_two_ways_to_say_the_same_are_the_same() -> None:
    args = {**ARGS, "window_size": (15, 0), "window_attn_skip_freq": 2}
    refuse_other_model(args, described(window_size=[15, 0], window_attn_skip_freq=[1, 0]), "config.json")
    experts = {"num_experts": 4, "moe_layer_freq": 1, "moe_ffn_hidden_size": 96}
    fields = {"num_moe_experts": 4, "moe_layer_freq": [1, 1], "moe_router_num_groups": 1, "moe_router_group_topk": 1}
    refuse_other_model({**ARGS, **experts}, described(**fields), "config.json")
    with pytest.raises(RefusedError, match="--moe-layer-freq"):
        refuse_other_model({**ARGS, **experts}, described(**{**fields, "moe_layer_freq": [0, 1]}), "config.json")


def test_a_checkpoint_of_bridges_is_compared_field_by_field() -> None:
    for changed in ({"logit_cap": 30.0}, {"transformer_layer_spec": "megatron.core.other"}, {"qk_layernorm": True}):
        with pytest.raises(RefusedError, match=next(iter(changed)).replace("_", "[-_]")):
            refuse_other_provider(described(**changed), described(), "config.json")


def test_bridge_is_chosen_where_no_family_has_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def chosen(installed: bool, reference: Path | None, **changed: Any) -> str:
        monkeypatch.setattr(engines, "has_bridge", lambda: installed)
        opened = SimpleNamespace(args={**ARGS, **changed}, of_bridge=False, folder=Path("saved"))
        source: Any = SimpleNamespace(opened=opened, vocab=LLAMA_MODEL.vocab)
        return engine_for(source, None, reference, say=said.append)

    there = Path("reference")
    assert chosen(True, None) == "lrps"
    assert chosen(True, there) == "lrps"
    assert "is not needed" in said.pop()
    assert chosen(True, there, squared_relu=True, swiglu=False) == "bridge"
    assert "no family of Megatron-LRPS has the model: " in said.pop()
    with pytest.raises(RefusedError, match="is not installed"):
        chosen(False, there, squared_relu=True, swiglu=False)
    with pytest.raises(RefusedError, match="Or give --reference DIR"):
        chosen(True, None, squared_relu=True, swiglu=False)
