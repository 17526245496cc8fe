"""Any config.json and any header of a safetensors file is refused, or read as transformers and safetensors read it."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.config_keys import HARMLESS
from megatron_lrps.convert.huggingface_config import config_of, model_of_config
from megatron_lrps.convert.huggingface_import import plan_import
from megatron_lrps.convert.weight_files import tensors_of
from megatron_lrps.errors import RefusedError

ALL_KEYS = sorted({key for family in FAMILIES.values() for key in family.defaults})
STRANGE = ["is_causal", "per_layer_config", "layer_types", "logits_scaling", "\x1b[31m", "", "attn_logit_softcapping"]
ROPE = st.dictionaries(
    st.sampled_from(["rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor", "beta_fast"])
    | st.sampled_from(["original_max_position_embeddings", "mscale", "mscale_all_dim"]),
    st.sampled_from(["default", "llama3", "linear", "yarn", 8.0, 8, 1.0, 4.0, 4096, 8192, 0, 1e4, 5e5, None, "8"]),
    max_size=6,
)
VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, 2, 4, 16, 64, 4096, -1, 0.0, 1.0, 2.0, 1e-5, 1e999, "64", "silu", [], {}]
    ),
    st.integers(min_value=-(10**20), max_value=10**20),
    st.floats(),
    st.text(max_size=5),
    ROPE,
    st.lists(st.sampled_from(["full_attention", "sliding_attention", 1, None]), max_size=4),
)
CHANGES = st.dictionaries(st.sampled_from([*ALL_KEYS, *STRANGE]), VALUES, min_size=1, max_size=3)
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
FORMAL = {"architectures", "dtype", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id"}
"""Keys that an export writes anew, and that no model computes with."""
UNUSED = {
    # With experts in every layer, and without windows.
    *("intermediate_size", "output_router_logits", "router_aux_loss_coef", "router_jitter_noise"),
    *("max_window_layers", "layer_types", "sliding_window"),
    # Dropout and heads of other tasks; rounding.
    *("attn_pdrop", "embd_pdrop", "resid_pdrop", "residual_dropout", "reorder_and_upcast_attn"),
    *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
}


OF_KIND = {
    "linear_attention": (
        *("mamba_num_heads", "mamba_head_dim", "ssm_state_size", "n_groups", "conv_kernel"),
        *("use_conv_bias", "mamba_hidden_act"),
    ),
    "moe": (
        *("n_routed_experts", "n_shared_experts", "moe_intermediate_size", "moe_shared_expert_intermediate_size"),
        *("moe_latent_size", "num_experts_per_tok", "routed_scaling_factor", "n_group", "topk_group", "norm_topk_prob"),
    ),
}
"""Kind of Nemotron-H's layers -> the keys that no other layer reads."""


def as_transformers_reads(family: str, config: dict[str, Any]) -> dict[str, Any]:
    """What the installed transformers makes of a config.json, without what its models do not compute with."""
    kind = FAMILIES[family].architecture.split("For")[0].replace("LMHeadModel", "")
    read = getattr(transformers, f"{kind}Config").from_dict(json.loads(json.dumps(config))).to_dict()
    unused = UNUSED - ({"sliding_window"} if family in ("mistral", "phi3") else set())
    unused -= (
        {"intermediate_size"} if not FAMILIES[family].defaults.get("num_experts") or family == "mixtral" else set()
    )
    if family in ("qwen2", "qwen3", "ministral", "smollm3"):
        sliding = "sliding_attention" in read["layer_types"]
        unused -= {"layer_types", *(["sliding_window"] if sliding else [])}
    if family == "smollm3":
        unused |= {"no_rope_layer_interval", "use_sliding_window"}  # the lists say it all
        read["no_rope_layers"] = [bool(each) for each in read["no_rope_layers"][: read["num_hidden_layers"]]]
    if family in ("qwen2_moe", "qwen3_moe"):
        step = read.pop("decoder_sparse_step")
        layers = range(read["num_hidden_layers"])
        read["mlp_only_layers"] = [
            layer for layer in layers if layer in (read["mlp_only_layers"] or ()) or (layer + 1) % step
        ]
        unused -= {"intermediate_size"} if read["mlp_only_layers"] else set()
    if family == "gpt_oss":
        sliding = "sliding_attention" in read["layer_types"]
        unused = (unused | {"quantization_config"}) - {"layer_types", "intermediate_size"}
        unused -= {"sliding_window"} if sliding else set()
    if family == "glm4_moe":
        unused |= {"num_mtp_layers", "num_nextn_predict_layers"}
        unused -= {"intermediate_size"} if read["first_k_dense_replace"] else set()
    unused |= FAMILIES[family].only_transformers.keys()
    if family == "nemotron_h":
        kinds = {key: kind for kind, keys in OF_KIND.items() for key in keys if kind not in read["layers_block_type"]}
        unused = (unused | kinds.keys()) - ({"intermediate_size"} if "mlp" in read["layers_block_type"] else set())
    if FAMILIES[family].arguments.get("multi_latent_attention"):
        unused |= {"num_mtp_layers", "num_nextn_predict_layers"}
        unused |= {"intermediate_size"} if not read["first_k_dense_replace"] else set()
        unused |= {"n_group", "topk_group"} if read.get("topk_method") == "greedy" else set()
    if family == "phi3":
        unused |= {"original_max_position_embeddings"}  # of LongRoPE
    return {key: value for key, value in read.items() if key not in HARMLESS | FORMAL | unused}


def is_one_line(error: RefusedError) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 600


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_is_refused_in_one_line_or_read_as_transformers_reads_it(family: str) -> None:
    @QUIET
    @given(CHANGES)
    def holds(changes: dict[str, Any]) -> None:
        small = {} if family == "gpt2" else {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
        if FAMILIES[family].arguments.get("multi_latent_attention"):
            small |= {"num_key_value_heads": 4, "num_experts_per_tok": 8}
        config = json.loads(json.dumps({"model_type": family, **small, **changes}))
        try:
            model = model_of_config(config, "config.json")
        except RefusedError as error:
            is_one_line(error)
            return
        ours = as_transformers_reads(family, config_of(model, dtype="float32", bos=1, eos=2))
        try:
            theirs = as_transformers_reads(family, config)
        except (StrictDataclassError, KeyError, TypeError, ValueError):
            return  # transformers has no model to compare with, so a check of the logits fails
        theirs = {key: value for key, value in theirs.items() if key in ours}
        # We write every key; transformers computes the same without the ones that it does not list.
        for read in (ours, theirs):
            rope = read.get("rope_parameters", {})
            rope.pop("type", None)
            if read.get("original_max_position_embeddings", 0) is None:
                del read["original_max_position_embeddings"]
            rope.pop("partial_rotary_factor", None)
            if not (rope.get("mscale") and rope.get("mscale_all_dim")):  # neither counts alone
                rope = {key: value for key, value in rope.items() if not key.startswith("mscale")}
                read["rope_parameters"] = rope
            if read.get("n_inner") is None and "n_embd" in read:
                read["n_inner"] = 4 * read["n_embd"]
            if "hidden_size" in read and read.get("head_dim") is None:
                read["head_dim"] = read["hidden_size"] // read["num_attention_heads"]
            if read.get("hidden_act") == "swish":
                read["hidden_act"] = "silu"
        assert {key: ours[key] for key in theirs} == theirs

    holds()


def test_a_header_is_refused_in_one_line_or_read_as_safetensors_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(6.0).view(3, 2), "b": torch.ones(2, dtype=torch.bfloat16)}, file)
    whole = file.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    numbers = st.integers(-2, 40) | st.floats() | st.none() | st.booleans() | st.just(10**30)
    entries = st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.sampled_from(["F32", "BF16", "F16", "I64", "F8_E4M3", "x", 7, None]),
            "shape": st.lists(numbers, max_size=3) | numbers,
            "data_offsets": st.lists(numbers, max_size=3) | numbers,
        },
    )

    @settings(max_examples=300, deadline=None)
    @given(st.dictionaries(st.sampled_from(["a", "b", "c", "\x1b"]), entries, max_size=2), st.binary(max_size=3))
    def changed(changes: dict[str, Any], more: bytes) -> None:
        made = {name: {**header.get(name, {}), **change} for name, change in changes.items()}
        text = json.dumps({**header, **made}).encode()
        check(struct.pack("<Q", len(text)) + text + whole[8 + length :] + more)

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 255), st.booleans())
    def flipped(at: int, byte: int, cut: bool) -> None:
        check(whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :])

    def check(content: bytes) -> None:
        file.write_bytes(content)
        try:
            found = {tensor.name: tensor.read() for tensor in tensors_of(file)}
        except RefusedError as error:
            is_one_line(error)
            return
        expected = load_file(file)
        assert found.keys() == expected.keys()
        assert all(
            found[name].reshape(-1).view(torch.uint8).equal(expected[name].reshape(-1).view(torch.uint8))
            for name in found
            if found[name].numel()
        )

    changed()
    flipped()


def test_a_refused_folder_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text('{"model_type": "llama", "hidden_size": "64"}')
    with pytest.raises(RefusedError, match="hidden_size '64'"):
        plan_import(tmp_path / "source")
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]
