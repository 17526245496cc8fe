"""What the installed transformers gives to absent keys is what an import gives them, and it has no key unknown here."""

import dataclasses
from typing import Any

import pytest
import transformers
from convert.hugging_face import CONFIGS

from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.config_keys import HARMLESS, ConfigKeys
from megatron_lrps.convert.huggingface_config import config_of, model_of_config

CLASSES = {family.name: family.architecture.split("For")[0].replace("LMHeadModel", "") for family in FAMILIES.values()}
NO_FIELD = {
    # transformers reads these of any config, or of none; the test of rope.py holds the first five.
    *("rope_theta", "rope_scaling", "partial_rotary_factor", "original_max_position_embeddings", "rope_interleaved"),
    *("head_dim", "attention_bias", "mlp_bias", "sliding_window", "layer_types", "max_window_layers", "use_mrope"),
    *("num_local_experts", "num_experts", "rope_parameters", "num_nextn_predict_layers", "experts_per_token"),
    # Of the publishers' own classes, and what transformers makes of other keys.
    *("quantization_config", "auto_map", "scoring_func", "topk_method", "moe_layer_freq", "qk_head_dim"),
    *("hybrid_override_pattern", "attention_head_dim", "rms_norm_eps", "num_hidden_layers"),
}
"""Keys of ``defaults`` that a class may lack: its model computes as with our default."""
ROPE = {
    "phi3": {"partial_rotary_factor": 1.0},
    "glm4_moe": {"partial_rotary_factor": 0.5},
    "gpt_oss": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}
    | {"original_max_position_embeddings": 4096},
}
"""The RoPE parameters of a class that are others by default."""
WHOLE = {"glm4_moe": {"head_dim": 128}, "deepseek_v2": {"num_experts_per_tok": 6}}
"""What a class needs beside its defaults to make a model: 4096 / 96 heads is a width of which no half can turn."""


def config(family: str, **keys: Any) -> dict[str, Any]:
    """A config.json of a family."""
    return {"model_type": family, **WHOLE.get(family, {}), **keys}


def fields_of(family: str) -> dict[str, Any]:
    """Key -> default, for every field of transformers' class that its base class does not have."""
    kind = getattr(transformers, f"{CLASSES[family]}Config")
    base = {field.name for field in dataclasses.fields(transformers.PreTrainedConfig)}
    return {field.name: field.default for field in dataclasses.fields(kind) if field.name not in base}


@pytest.mark.parametrize("family", FAMILIES)
def test_absent_keys_have_transformers_values(family: str) -> None:
    fields, defaults = fields_of(family), FAMILIES[family].defaults
    assert {key: fields[key] for key in defaults if key in fields} == {
        key: value for key, value in defaults.items() if key in fields
    }
    assert defaults.keys() - fields.keys() <= NO_FIELD
    if "rope_theta" in defaults:
        kind = getattr(transformers, f"{CLASSES[family]}Config")
        rope = {"rope_type": "default", "rope_theta": defaults["rope_theta"], **ROPE.get(family, {})}
        assert kind().rope_parameters == rope


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_of_transformers_is_read_or_known_to_change_nothing(family: str) -> None:
    """A release of transformers that adds a key to a family fails here; an import refuses the key until then."""
    every = config(family, **fields_of(family) | WHOLE.get(family, {}))
    assert model_of_config(config(family), "config.json") == model_of_config(every, "config.json")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_base_classes_fields_are_known(family: str) -> None:
    base = {field.name: field.default for field in dataclasses.fields(transformers.PreTrainedConfig)}
    base |= {"id2label": {"0": "a"}, "label2id": {"a": 0}, "return_dict": True, "dtype": "float32"}
    model_of_config(config(family, **base), "config.json")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_an_export_writes_is_what_an_import_reads(family: str) -> None:
    model = model_of_config(config(family), "config.json")
    assert model_of_config(config_of(model, dtype="float32", bos=1, eos=2), "config.json") == model


def test_no_key_that_some_family_computes_with_counts_as_harmless() -> None:
    assert not [(family.name, key) for family in FAMILIES.values() for key in family.defaults if key in HARMLESS]


def test_a_default_must_be_declared() -> None:
    with pytest.raises(KeyError):
        ConfigKeys({}, "config.json", {}).value("hidden_size")


def test_all_tiny_models_are_of_these_families() -> None:
    assert {kind for kind, _ in CONFIGS.values()} == set(CLASSES.values())
