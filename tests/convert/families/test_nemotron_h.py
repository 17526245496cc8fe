"""Nemotron-H: what its config.json says about layers, what Megatron's cannot be, and a campaign that releases one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Lrps
from convert.families.published import NEMOTRON
from convert.hugging_face import VOCAB, save_model
from convert.models import write_llama_campaign
from safetensors.torch import load_file
from training.campaigns import train_path

from megatron_lrps.convert.architecture import Mamba, Model
from megatron_lrps.convert.huggingface_config import config_of, model_of_config
from megatron_lrps.convert.layout import Layout
from megatron_lrps.convert.mapping import weights_of
from megatron_lrps.convert.model_arguments import args_of, model_of_args
from megatron_lrps.errors import RefusedError

HYBRID = (
    ", num-query-groups: 2, group-query-attention: true, kv-channels: 32, normalization: RMSNorm, squared-relu: true,"
    " position-embedding-type: none, disable-bias-linear: true, untie-embeddings-and-output-weights: true,"
    " mamba-num-heads: 6, mamba-head-dim: 16, mamba-state-dim: 24, mamba-num-groups: 2"
)


def model_of(**changes: Any) -> Model:
    return model_of_config({"model_type": "nemotron_h", **NEMOTRON, **changes}, "config.json")


def test_a_published_config_is_read() -> None:
    model = model_of()
    assert (model.pattern, model.layers, model.hidden, model.ffn) == ("M-M*-MM", 7, 4480, 15680)
    assert model.mamba == Mamba(heads=128, width=80, state=128, groups=8)
    shapes = {weight.name: weight.shape for weight in weights_of(model)}
    assert shapes["backbone.layers.0.mixer.in_proj.weight"] == (2 * 10240 + 2 * 1024 + 128, 4480)
    assert shapes["backbone.layers.0.mixer.conv1d.weight"] == (10240 + 2 * 1024, 1, 4)
    assert shapes["backbone.layers.3.mixer.k_proj.weight"] == (1024, 4480)
    assert shapes["backbone.layers.4.mixer.up_proj.weight"] == (15680, 4480)


@pytest.mark.parametrize(
    ("keys", "pattern"),
    [
        ({}, "ME*-"),  # transformers' own, where no key says it
        ({"layers_block_type": ["mamba", "attention"]}, "M*"),
        ({"layer_types": ["linear_attention", "full_attention"], "hybrid_override_pattern": "M*"}, "M*"),
        ({"hybrid_override_pattern": "*-"}, "*-"),
    ],
)
def test_the_layers_are_those_of_any_of_its_keys(keys: dict[str, Any], pattern: str) -> None:
    model = model_of_config({"model_type": "nemotron_h", **keys}, "config.json")
    assert model.pattern == pattern
    assert (model.mamba is None) == ("M" not in pattern)
    assert (model.experts > 0) == ("E" in pattern)
    assert model_of_args(args_of(model), model.vocab) == model


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hybrid_override_pattern": "M+*-M-M"}, "a letter of * - E M for each layer can"),
        ({"hybrid_override_pattern": ""}, "hybrid_override_pattern '' cannot be imported"),
        ({"layers_block_type": ["mamba", "lstm"]}, "layers_block_type ['mamba', 'lstm'] cannot"),
        ({"layers_block_type": ["mamba"]}, "layers_block_type says M"),
        ({"layers_block_type": ["mamba"], "layer_types": ["mamba"]}, "hybrid_override_pattern 'M-M*-MM' cannot be"),
        ({"num_hidden_layers": 8}, "num_hidden_layers 8 cannot be imported; the pattern has 7 layers"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings True"),
        ({"conv_kernel": 3}, "conv_kernel 3 cannot be imported; 4 can"),
        ({"layer_norm_epsilon": 1e-6, "rms_norm_eps": 1e-6}, "Megatron's Mamba layers have 1e-05"),
        ({"rms_norm_eps": 1e-6}, "layer_norm_epsilon is 1e-05"),
        ({"n_groups": 7}, "it must divide mamba_num_heads 128"),
        ({"mlp_hidden_act": "silu"}, "'relu2' can"),
        ({"use_conv_bias": False}, "use_conv_bias False"),
        ({"mamba_proj_bias": True}, "mamba_proj_bias True"),
        ({"time_step_min": -1}, "time_step_min -1"),
        (
            {"time_step_limit": [0.001, 0.1]},
            "time_step_limit [0.001, 0.1] cannot be imported; only [0.0, Infinity] can",
        ),
        ({"time_step_limit": 0.0}, "time_step_limit 0.0"),
        ({"num_nextn_predict_layers": 1}, "num_nextn_predict_layers 1"),
        ({"mamba_d_conv": 3}, "the key 'mamba_d_conv'"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling_other.Other"}}, "auto_map"),
        ({"num_key_value_heads": 7}, "it must divide num_attention_heads 40"),
        ({"hybrid_override_pattern": "MEM*-ME", "moe_latent_size": 64}, "moe_latent_size 64"),
        ({"hybrid_override_pattern": "MEM*-ME", "n_shared_experts": 2}, "n_shared_experts 2"),
        ({"hybrid_override_pattern": "MEM*-ME", "norm_topk_prob": False}, "norm_topk_prob False"),
        ({"hybrid_override_pattern": "MEM*-ME", "num_experts_per_tok": 1}, "num_experts_per_tok 1"),
    ],
)
def test_what_megatrons_layers_are_not_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(says)):
        model_of(**changes)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"hybrid_layer_pattern": "M+*"}, "--hybrid-layer-pattern M+*"),
        ({"hybrid_layer_pattern": "M*/*-"}, "--hybrid-layer-pattern M*/*-"),
        ({"position_embedding_type": "rope"}, "--position-embedding-type rope"),
        ({"squared_relu": False}, "--squared-relu False"),
        ({"untie_embeddings_and_output_weights": False}, "tie_word_embeddings True cannot be imported"),
        ({"layernorm_epsilon": 1e-6}, "layer_norm_epsilon 1e-06"),
        ({"hybrid_layer_pattern": None}, "--squared-relu True"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_by_its_argument(changes: dict[str, Any], flag: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(flag)):
        model_of_args({**args_of(model_of()), "num_layers": 7, **changes}, 131072)


def test_an_older_flag_stages_and_default_heads_are_read() -> None:
    model = model_of(mamba_num_heads=112)  # 2 x 4480 / 80
    args = {**args_of(model), "mamba_num_heads": None, "hybrid_layer_pattern": None}
    assert model_of_args({**args, "hybrid_override_pattern": "M-M|*-MM"}, 131072) == model
    assert config_of(model, dtype="bfloat16", bos=1, eos=2)["hybrid_override_pattern"] == "M-M*-MM"


@pytest.mark.parametrize(("changes", "name"), [({"mamba_num_heads": 6}, "heads 6"), ({"n_groups": 2}, "groups 2")])
def test_a_layout_divides_the_mamba_layers(changes: dict[str, int], name: str) -> None:
    Layout(tensor=2).refuse_for(args_of(model_of(n_groups=2)))
    sizes = {"num_attention_heads": 8, "hidden_size": 4096, "intermediate_size": 8192, "mamba_num_heads": 8}
    with pytest.raises(RefusedError, match=f"--tensor-parallel 4 does not divide mamba_num_{name}"):
        Layout(tensor=4).refuse_for(args_of(model_of(**{**sizes, "n_groups": 2, **changes})))


@pytest.mark.training
def test_a_hybrid_version_is_exported_and_a_new_main_path_starts_from_it(tmp_path: Path, lrps: Lrps) -> None:
    plan = write_llama_campaign(tmp_path)
    text = re.sub(r", ffn-hidden-size.*?(?=}\nlaunch)", HYBRID, plan.read_text(), flags=re.DOTALL)
    plan.write_text(text.replace("num-layers: 2", "hybrid-layer-pattern: M-M*, ffn-hidden-size: 96"))
    for path in ("main", "v1"):
        ended = train_path(plan, path)
        assert ended.codes == [0], ended.log[-3000:]
    code, out, err = lrps("export", plan, "v1", "--dtype", "fp32", "--json")
    assert code == 0, err
    exported, facts = tmp_path / "run" / "exports" / "v1", json.loads(out)
    assert facts["check"]["difference"] < facts["check"]["tolerance"] / 3
    assert facts["check"]["megatron_loss"] == pytest.approx(facts["check"]["export_loss"], abs=1e-6)
    assert load_file(exported / "model.safetensors")["backbone.layers.0.mixer.in_proj.weight"].shape == (294, 64)
    code, _, err = lrps("export", plan, "v1", "--format", "torch", "--output", tmp_path / "one")
    assert code == 78
    assert "a part of a Mamba layer's weight, which one file has whole" in err
    code, _, err = lrps("import", exported, "--plan", plan)
    assert code == 0, err
    fewer = tmp_path / "other.yaml"
    fewer.write_text(plan.read_text().replace("M-M*", "M-*-").replace("mamba-state-dim: 24", "mamba-state-dim: 16"))
    code, _, err = lrps("import", exported, "--plan", fewer, "--output", tmp_path / "again")
    assert code == 78
    assert "hybrid-layer-pattern is M-*-, " in err
    assert "mamba-state-dim is 16, " in err


@pytest.mark.training
def test_a_least_time_step_is_set_aside_in_the_comparison_and_that_is_said(tmp_path: Path, lrps: Lrps) -> None:
    source = save_model(tmp_path / "source", "nemotron_h")
    file = source / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "time_step_min": 0.9}))
    code, out, err = lrps("import", source, "--output", tmp_path / "imported")
    assert code == 0, err
    assert "transformers alone computes with time_step_min 0.9, so the comparison lets it compute with 1e-30" in err
    lines = yaml.safe_load("\n".join(line for line in out.splitlines() if line.startswith("  ")))
    assert lines["hybrid-layer-pattern"] == "M-M*"
    assert lines["mamba-num-groups"] == 2
    assert VOCAB == 111
