"""Hugging Face -> torch_dist -> Hugging Face without Megatron: bit for bit, and what has no place is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from convert.hugging_face import CONFIGS, VOCAB, save_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.huggingface_config import config_of
from megatron_lrps.convert.huggingface_export import plan_export, write_export
from megatron_lrps.convert.huggingface_import import plan_import, write_import
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import write_atomic


def test_every_family_makes_a_round_trip_below() -> None:
    assert {transformers_class.lower() for transformers_class, _ in CONFIGS.values()} == {
        name.replace("_", "") for name in FAMILIES
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_a_round_trip_is_bit_identical_and_transformers_finds_every_key(name: str, tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", name)
    write_import(plan_import(source), tmp_path / "imported")
    planned = plan_export(open_checkpoint(tmp_path / "imported" / "release"), vocab=VOCAB)

    def around(hidden: Path) -> None:
        config = config_of(planned.model, dtype="float32", bos=1, eos=2)
        write_atomic(hidden / "config.json", json.dumps(config))

    done = write_export(planned, tmp_path / "exported", around=around, shard_bytes=100_000, workers=2)
    assert done.files > 2
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "exported", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    before = AutoModelForCausalLM.from_pretrained(source)
    tokens = torch.arange(60).view(2, 30)
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, before(tokens).logits)
    written: dict[str, torch.Tensor] = {}
    for file in (tmp_path / "exported").glob("*.safetensors"):
        written |= load_file(file)
    original = load_file(source / "model.safetensors")
    assert original.keys() == written.keys()
    assert all(torch.equal(original[key], written[key]) for key in original)


def test_bf16_stays_bf16_and_padding_rows_are_the_mean(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "llama", dtype=torch.bfloat16)
    done = write_import(plan_import(source), tmp_path / "imported")
    assert done.rows == 1024
    opened = open_checkpoint(tmp_path / "imported" / "release")
    words = opened.read("output_layer.weight", (), 0, 1024)
    assert words.dtype == torch.bfloat16
    mean = words[:VOCAB].float().mean(0).to(torch.bfloat16)
    assert torch.equal(words[VOCAB:], mean.expand(1024 - VOCAB, -1))


def test_what_has_no_place_in_megatron_is_named_before_anything_is_written(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "llama")
    config = json.loads((source / "config.json").read_text())
    cases = {
        "model_type": ("mamba", "model_type 'mamba' cannot be imported"),
        "hidden_act": ("gelu", "hidden_act 'gelu' cannot be imported"),
        "sliding_window": (16, "sliding_window 16 of a llama model"),
        "attention_bias": (True, "attention_bias True with mlp_bias False"),
        "num_hidden_layers": (5, "model.layers.4.input_layernorm.weight is missing"),
        "intermediate_size": (100, r"has \[96, 64\], and a llama model of this config.json has \[100, 64\]"),
        "rope_parameters": (
            {**config["rope_parameters"], "factor": 32.0},
            "factor 32.0, but megatron-core 0.19 computes with 8",
        ),
    }
    for key, (value, message) in cases.items():
        (source / "config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(RefusedError, match=message):
            plan_import(source)
    (source / "config.json").write_text(json.dumps(config))
    save_file({"model.extra.weight": torch.zeros(3)}, source / "more.safetensors")
    with pytest.raises(RefusedError, match=r"holds model\.extra\.weight, but Megatron has no tensor for it"):
        plan_import(source)
    (source / "more.safetensors").unlink()
    with (source / "model.safetensors").open("r+b") as file:
        file.truncate(100_000)
    with pytest.raises(RefusedError, match=r"is no whole safetensors file: .* not fully covered"):
        plan_import(source)
    shutil.rmtree(source)
    with pytest.raises(RefusedError, match=r"config\.json is missing"):
        plan_import(source)
