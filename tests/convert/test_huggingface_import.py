"""Hugging Face -> torch_dist -> Hugging Face without Megatron: bit for bit, and what has no place is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from convert.hugging_face import CONFIGS, OTHER_TYPES, VOCAB, save_model
from safetensors.torch import load_file, save_file

from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.huggingface_config import config_of
from megatron_lrps.convert.huggingface_export import plan_export, write_export
from megatron_lrps.convert.huggingface_import import plan_import, write_import
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.convert.transformers_logits import load_model
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import write_atomic


def test_every_family_makes_a_round_trip_below() -> None:
    classes = {transformers_class.lower().replace("_", "") for transformers_class, _ in CONFIGS.values()}
    assert classes == {name.replace("_", "") for name in FAMILIES.keys() - set(OTHER_TYPES.values())}


def named_family(name: str) -> str | None:
    """What ``--family`` says for a model of ``CONFIGS`` whose arguments fit another family as well."""
    return {"phi3": "phi3", "seed_oss": "seed_oss"}.get(name)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_round_trip_is_bit_identical_and_transformers_finds_every_key(name: str, tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", name)
    write_import(plan_import(source), tmp_path / "imported")
    opened = open_checkpoint(tmp_path / "imported" / "release")
    planned = plan_export(opened, vocab=VOCAB, family=named_family(name))

    def around(hidden: Path) -> None:
        config = config_of(planned.model, dtype="float32", bos=1, eos=2)
        write_atomic(hidden / "config.json", json.dumps(config))

    done = write_export(planned, tmp_path / "exported", around=around, shard_bytes=100_000, workers=2)
    assert done.files > 2
    loaded, info = load_model(str(tmp_path / "exported"))
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    before, _ = load_model(str(source))
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
        "sliding_window": (16, "sliding_window 16 cannot be imported"),
        "attention_bias": (True, "mlp_bias False cannot be imported; attention_bias is True"),
        "num_hidden_layers": (5, "model.layers.4.input_layernorm.weight is missing"),
        "intermediate_size": (100, r"has \[96, 64\], and a llama model of this config.json has \[100, 64\]"),
        "rope_parameters": (
            {**config["rope_parameters"], "low_freq_factor": 2.0},
            "low_freq_factor 2.0 cannot be imported; Megatron computes llama3's RoPE with 1 alone",
        ),
    }
    for key, (value, message) in cases.items():
        (source / "config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(RefusedError, match=message):
            plan_import(source)
    (source / "config.json").write_text(json.dumps(config))
    with (source / "model.safetensors").open("r+b") as file:
        file.truncate(100_000)
    with pytest.raises(RefusedError, match="has 100000 bytes, but its header describes"):
        plan_import(source)
    shutil.rmtree(source)
    with pytest.raises(RefusedError, match=r"config\.json cannot be read: No such file"):
        plan_import(source)


def changed(source: Path, **weights: torch.Tensor) -> Path:
    """Set or add weights of a saved model; two underscores stand for a dot."""
    found = load_file(source / "model.safetensors")
    found |= {name.replace("__", "."): value for name, value in weights.items()}
    save_file(found, source / "model.safetensors", metadata={"format": "pt"})
    return source


# Each of the next three was imported once, and computed something else than transformers.
def test_an_output_layer_of_its_own_beside_tied_embeddings_is_refused(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "llama-tied-biased")
    words = load_file(source / "model.safetensors")["model.embed_tokens.weight"]
    plan_import(changed(source, lm_head__weight=words.clone()))
    with pytest.raises(RefusedError, match=r"tie_word_embeddings is true, but lm_head\.weight differs"):
        plan_import(changed(source, lm_head__weight=words + 1))


@pytest.mark.parametrize("layer", [0, 1])
def test_parts_of_one_tensor_in_different_dtypes_are_refused(layer: int, tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "llama", dtype=torch.bfloat16)
    name = f"model.layers.{layer}.self_attn.k_proj.weight"
    keys = load_file(source / "model.safetensors")[name]
    with pytest.raises(
        RefusedError, match=r"k_proj\.weight is float32, but .* is bfloat16; both are parts of Megatron"
    ):
        plan_import(changed(source, **{name.replace(".", "__"): keys.float()}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_weights_are_named_and_nothing_is_written(value: float, tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "llama")
    name = "model.layers.3.mlp.down_proj.weight"
    weight = load_file(source / "model.safetensors")[name]
    weight[5, 7] = value
    planned = plan_import(changed(source, **{name.replace(".", "__"): weight}))
    with pytest.raises(RefusedError, match=r"layers\.3\.mlp\.down_proj\.weight has values that are NaN or infinite"):
        write_import(planned, tmp_path / "imported")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["source"]


def test_large_values_whose_sum_overflows_are_no_infinite_values(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "llama", dtype=torch.float16)
    changed(source, model__norm__weight=torch.full((64,), 60_000.0, dtype=torch.float16))
    write_import(plan_import(source), tmp_path / "imported")


def test_layers_of_multi_token_prediction_stay_behind_and_nothing_else_does(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "glm4_moe")
    changed(source, model__layers__4__eh_proj__weight=torch.zeros(64, 128))
    config = json.loads((source / "config.json").read_text())
    for predictions in ({"num_nextn_predict_layers": 1, "num_mtp_layers": 0}, {"num_nextn_predict_layers": None}):
        (source / "config.json").write_text(json.dumps({**config, **predictions}))
        with pytest.raises(RefusedError, match=r"num_nextn_predict_layers .* cannot be imported; a number up to 8 can"):
            plan_import(source)
    (source / "config.json").write_text(json.dumps({**config, "num_nextn_predict_layers": 1, "num_mtp_layers": 1}))
    assert plan_import(source).left_out == ["model.layers.4.eh_proj.weight"]
    changed(source, model__layers__5__eh_proj__weight=torch.zeros(64, 128))
    with pytest.raises(RefusedError, match=r"holds 'model\.layers\.5\.eh_proj\.weight'"):
        plan_import(source)


def test_layers_that_differ_have_tensors_of_their_own_and_norms_that_either_layer_spec_finds(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "glm4_moe", dtype=torch.bfloat16)
    biases = {name: value for name, value in load_file(source / "model.safetensors").items() if "correction" in name}
    changed(source, **{name.replace(".", "__"): value.float() for name, value in biases.items()})  # as published
    write_import(plan_import(source), tmp_path / "imported")
    tensors = open_checkpoint(tmp_path / "imported" / "release").tensors
    assert tensors["decoder.layers.0.mlp.linear_fc1.weight"].shape == (192, 64)
    assert tensors["decoder.layers.3.mlp.experts.experts.linear_fc1.weight"].shape == (4, 96, 64)
    # Transformer Engine's layers keep a norm apart from experts, and fuse it with an MLP.
    norms = [key for key in tensors if key.endswith(("pre_mlp_layernorm.weight", "linear_fc1.layer_norm_weight"))]
    assert len(norms) == 1 + 2 * 3
    assert tensors["decoder.layers.1.mlp.router.expert_bias"].dtype == torch.float32
    planned = plan_export(open_checkpoint(tmp_path / "imported" / "release"), vocab=VOCAB, dtype="bf16")
    kinds = {entry.name.rpartition(".")[2]: entry.dtype for entry in planned.entries}
    assert kinds == {"weight": torch.bfloat16, "bias": torch.bfloat16, "e_score_correction_bias": torch.float32}


def test_an_unknown_weight_is_named_without_its_control_characters(tmp_path: Path) -> None:
    source = changed(save_model(tmp_path / "source", "llama"), **{"x\x1b[31m": torch.zeros(3)})
    with pytest.raises(RefusedError, match=r"holds 'x\\x1b\[31m', but Megatron has no tensor for it"):
        plan_import(source)


def test_a_billion_layers_are_refused_at_once(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "llama")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    with pytest.raises(RefusedError, match=r"describes 1,000,000,000 layers .* hold only 39 weights"):
        plan_import(source)


def test_gpt2_under_the_hubs_names_is_the_same_model(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "gpt2")
    write_import(plan_import(source), tmp_path / "one")
    weights = load_file(source / "model.safetensors")
    weights = {name.removeprefix("transformer."): value for name, value in weights.items()}
    weights |= {"h.0.attn.bias": torch.ones(1, 1, 64, 64)}  # a mask that old versions saved
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    write_import(plan_import(source), tmp_path / "other")
    one, other = (open_checkpoint(tmp_path / name / "release") for name in ("one", "other"))
    key, shape = "decoder.layers.mlp.linear_fc1.weight", one.tensors["decoder.layers.mlp.linear_fc1.weight"].shape
    assert torch.equal(one.read(key, (3,), 0, shape[1]), other.read(key, (3,), 0, shape[1]))
    assert one.tensors.keys() == other.tensors.keys()
