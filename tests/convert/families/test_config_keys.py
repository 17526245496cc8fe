"""No key of a config.json is passed over: what is unknown, contradicts another key, or is no number, is named."""

import re
from typing import Any

import pytest
from convert.families.published import DEEPSEEK, DEEPSEEK_YARN, NEMOTRON

from megatron_lrps.convert.architecture import Yarn
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.without_counterpart import WITHOUT_COUNTERPART
from megatron_lrps.convert.huggingface_config import model_of_config
from megatron_lrps.errors import RefusedError

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def refused(family: str, changes: dict[str, Any]) -> str:
    """The message about a config.json of a family."""
    with pytest.raises(RefusedError) as error:
        model_of_config({"model_type": family, **changes}, "config.json")
    return str(error.value)


# Each of these was imported once, and computed something else than transformers.
@pytest.mark.parametrize(
    ("family", "changes", "says"),
    [
        ("llama", {"is_causal": False}, "is_causal False cannot be imported; only True can"),
        ("mistral", {"layer_types": ["full_attention"] * 32}, "the key 'layer_types'"),
        ("llama", {"rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4}}, "rope_theta is 500000.0 in one place"),
        (
            "llama",
            {"rope_scaling": LLAMA3, "original_max_position_embeddings": 4096},
            "original_max_position_embeddings is 4096 in one place and 8192 in another",
        ),
        ("llama", {"rope_scaling": LLAMA3, "rope_parameters": {"rope_theta": 1e4}}, "rope_scaling is .* in one place"),
    ],
)
def test_what_was_silently_wrong_is_named(family: str, changes: dict[str, Any], says: str) -> None:
    assert re.search(says, refused(family, changes))


def test_transformers_defaults_stand_for_absent_keys() -> None:
    assert model_of_config({"model_type": "mistral"}, "config.json").window == 4096
    assert model_of_config({"model_type": "mistral", "sliding_window": None}, "config.json").window is None
    assert model_of_config({"model_type": "qwen3", "hidden_size": 64}, "config.json").head_dim == 128
    inside = {"model_type": "llama", "rope_scaling": {"rope_type": "default", "rope_theta": 5e5}}
    assert model_of_config(inside, "config.json").rope_base == 5e5
    linear = {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 4.0}}
    assert model_of_config(linear, "config.json").rope_interpolation == 4


def test_qwens_windows_are_those_of_its_layers() -> None:
    config = {"model_type": "qwen2", "num_hidden_layers": 4, "use_sliding_window": True, "sliding_window": 8}
    for more, window, windowed in (
        ({"max_window_layers": 3}, 8, (False, False, False, True)),
        ({"max_window_layers": 0}, 8, None),
        ({"max_window_layers": 4}, None, None),
        ({"max_window_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}, 8, (True, False) * 2),
        ({"max_window_layers": 0, "layer_types": ["full_attention"] * 4}, None, None),
        ({"use_sliding_window": False, "max_window_layers": 0}, None, None),
    ):
        model = model_of_config({**config, **more}, "config.json")
        assert (model.window, model.windowed) == (window, windowed)


@pytest.mark.parametrize("value", ["64", 2.0, None, True, 0, -1, 10**12, float("inf"), float("nan"), [], {}])
def test_a_count_is_a_whole_number_above_zero(value: Any) -> None:
    for key in ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size"):
        assert f"{key} {value!r}"[:30] in refused("llama", {key: value})


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        *(("llama", "rope_theta", value) for value in (0, -1, float("inf"), "1e4", None, 1.5)),
        *(("llama", "rms_norm_eps", value) for value in (None, 0, -1e-5, "x", float("nan"))),
        *(("llama", key, value) for key in ("rope_parameters", "rope_scaling") for value in ("default", 8, [1])),
        *(("llama", key, 1) for key in ("tie_word_embeddings", "attention_bias")),
        ("llama", "head_dim", 0),
        ("llama", "head_dim", 15),
        ("llama", "num_key_value_heads", 3),
        ("llama", "hidden_size", 4098),
        ("llama", "mlp_bias", True),
        ("llama", "partial_rotary_factor", 0.5),
        ("llama", "rope_scaling", {"rope_type": "longrope", "factor": 4.0}),
        ("llama", "rope_scaling", {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.0}),
        ("llama", "rope_scaling", {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7}),
        ("llama", "rope_scaling", {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 0}),
        ("llama", "rope_scaling", {"rope_type": "yarn", "factor": 4.0, "truncate": 0}),
        ("llama", "rope_scaling", {"rope_type": "default", "full_attention": {}}),
        ("llama", "rope_scaling", {"rope_type": ["x"]}),
        ("llama", "rope_scaling", {"rope_type": "linear", "factor": 1.5}),
        ("llama", "rope_scaling", {**LLAMA3, "factor": None}),
        ("llama", "rope_scaling", {**LLAMA3, "type": "default"}),
        ("llama", "rope_scaling", {**LLAMA3, "low_freq_factor": 2.0}),
        ("llama", "architectures", ["LlamaBidirectionalModel"]),
        ("llama", "quantization_config", {"quant_method": "fp8"}),
        ("llama", "auto_map", {"AutoModelForCausalLM": "modeling.Other"}),
        ("llama", "logits_scaling", 8.0),
        ("llama", "is_encoder_decoder", 0),
        ("qwen2", "max_window_layers", "2"),
        ("qwen2", "layer_types", ["sliding_attention"] * 32),
        ("qwen2", "layer_types", 7),
        ("qwen3", "head_dim", None),
        ("mixtral", "num_experts_per_tok", 1),
        ("mixtral", "num_experts_per_tok", 9),
        ("mixtral", "sliding_window", 4096),
        ("qwen3_moe", "mlp_only_layers", ["0"]),
        ("qwen3_moe", "mlp_only_layers", 3),
        ("qwen3_moe", "mlp_only_layers", list(range(24))),
        ("qwen2_moe", "decoder_sparse_step", 25),
        *(("glm4_moe", "n_group", value) for value in (3, 128)),  # of 128 experts, the best two of a group count
        *(("deepseek_v3", "n_group", value) for value in (3, 256)),
        ("glm4_moe", "topk_group", 2),
        ("glm4_moe", "topk_group", 1.0),
        ("deepseek_v3", "topk_group", 2),  # of 8 groups: 64 experts of 8 that a token goes to, of its best four
        ("deepseek_v3", "num_experts_per_tok", 1),
        ("deepseek_v3", "rms_norm_eps", 1e-5),
        ("deepseek_v3", "q_lora_rank", None),
        ("deepseek_v3", "qk_rope_head_dim", 63),
        ("deepseek_v3", "head_dim", 56),
        ("deepseek_v3", "qk_head_dim", 128),
        ("deepseek_v3", "num_key_value_heads", 64),
        ("deepseek_v3", "rope_interleave", False),
        ("deepseek_v3", "norm_topk_prob", False),
        ("deepseek_v3", "scoring_func", "softmax"),
        ("deepseek_v3", "topk_method", "greedy"),
        ("deepseek_v3", "moe_layer_freq", 2),
        ("deepseek_v3", "attention_bias", True),
        ("deepseek_v3", "first_k_dense_replace", 61),
        ("deepseek_v3", "quantization_config", {"quant_method": "fp8", "fmt": "e4m3"}),
        ("deepseek_v3", "auto_map", {"AutoModelForCausalLM": "modeling_deepseek_changed.DeepseekV3ForCausalLM"}),
        ("kimi_k2", "auto_map", "modeling_deepseek.DeepseekV3ForCausalLM"),
        ("deepseek_v3", "rope_scaling", {"rope_type": "linear", "factor": 4.0}),
        ("kimi_k2", "rope_scaling", {**DEEPSEEK_YARN, "beta_fast": 1.0}),  # that of the first Kimi K2
        *(
            ("deepseek_v3", "rope_scaling", {**DEEPSEEK_YARN, key: value})
            for key, value in (
                *(("beta_slow", 2), ("truncate", False), ("original_max_position_embeddings", 8192)),
                *(("mscale", None), ("mscale", -1), ("mscale_all_dim", "1"), ("attention_factor", 1.3)),
            )
        ),
        ("deepseek_v2", "topk_method", "noaux_tc"),
        ("deepseek_v2", "norm_topk_prob", True),
        ("deepseek_v2", "mlp_bias", True),
        ("deepseek_v2", "num_experts", 63),
        ("glm4_moe", "norm_topk_prob", False),
        ("gpt_oss", "attention_bias", False),
        ("gpt_oss", "swiglu_alpha", 1.7),
        ("gpt_oss", "swiglu_limit", None),
        ("gpt_oss", "experts_per_token", 8),
        ("gpt_oss", "quantization_config", {"quant_method": "fp8"}),
        ("gpt_oss", "sliding_window", None),
        ("glm4_moe", "first_k_dense_replace", 46),
        ("glm4_moe", "n_shared_experts", 0),
        ("glm4_moe", "num_nextn_predict_layers", -1),
        ("glm4_moe", "rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("qwen3_moe", "use_sliding_window", True),
        ("qwen2_moe", "qkv_bias", False),
        ("qwen2_moe", "num_local_experts", 8),  # transformers passes it over, and has 60
        ("ministral", "layer_types", ["sliding_attention", "chunked_attention"] * 16),
        ("ministral", "layer_types", ["full_attention"]),
        ("ministral", "num_key_value_heads", None),
        ("smollm3", "no_rope_layers", [1, 0]),
        ("smollm3", "no_rope_layers", [True] * 36),
        ("smollm3", "no_rope_layer_interval", 0),
        ("smollm3", "layer_types", ["sliding_attention"] * 36),
        ("smollm3", "mlp_bias", True),
        ("phi3", "rope_scaling", {"rope_type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}),
        ("phi3", "rope_scaling", {"type": "yarn", "factor": 4.0}),
        ("phi3", "partial_rotary_factor", 1.5),
        ("phi3", "partial_rotary_factor", 0.01),
        ("seed_oss", "attention_out_bias", True),
        ("seed_oss", "mlp_bias", True),
        ("ernie4_5", "rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("ernie4_5", "use_bias", None),
        ("gpt2", "n_head", 7),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
    ],
)
def test_what_megatron_cannot_compute_with_is_named(family: str, key: str, value: Any) -> None:
    changes = {key: value, **({"intermediate_size": 96} if family == "llama" else {})}
    changes |= {"use_sliding_window": True} if key == "max_window_layers" else {}
    message = refused(family, changes)
    inner = [*value, "original_max_position_embeddings"] if isinstance(value, dict) else []
    assert any(name in message for name in (key, key.removeprefix("use_"), *inner, "rope_type"))
    assert len(message) < 500


def test_smollm3s_layers_without_a_rotary_embedding_are_those_that_may_have_a_window() -> None:
    config = {"model_type": "smollm3", "num_hidden_layers": 4, "sliding_window": 8}
    nope = (False, True, False, True)
    for more, ropeless, windowed in (
        ({"no_rope_layer_interval": 2}, nope, None),
        ({"no_rope_layers": [1, 0, 1, 0, 0]}, nope, None),
        ({"no_rope_layers": [1, 0, 1, 0], "use_sliding_window": True}, nope, nope),
        ({"no_rope_layers": [1] * 4, "use_sliding_window": True}, None, None),
        ({"no_rope_layers": [0] * 4}, (True,) * 4, None),
    ):
        model = model_of_config({**config, **more}, "config.json")
        assert (model.ropeless, model.windowed) == (ropeless, windowed)
        assert (model.window is None) == (windowed is None)


@pytest.mark.parametrize("family", WITHOUT_COUNTERPART)
def test_what_megatron_lacks_is_named_with_its_reason(family: str) -> None:
    message = refused(family, {})
    assert message.startswith(f"config.json: model_type {family} (")
    assert WITHOUT_COUNTERPART[family].why in message


@pytest.mark.parametrize(
    ("key", "changes", "why"),
    [
        ("q_lora_rank", {"q_lora_rank": None}, "with a norm of their own"),  # Lite
        ("topk_group", {"topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3}, "best 1, .* best 2"),
    ],
)
def test_deepseeks_published_v2_models_are_refused_with_the_reason(key: str, changes: dict[str, Any], why: str) -> None:
    message = refused("deepseek_v2", {"num_experts_per_tok": 6, **changes})
    assert re.search(f"{key} .* cannot be imported; .*{why}", message)


def test_groups_of_which_all_are_chosen_are_none() -> None:
    config = {"model_type": "deepseek_v3", "n_group": 4, "topk_group": 4, "num_experts_per_tok": 4}
    assert model_of_config(config, "config.json").expert_groups is None
    assert model_of_config({**config, "topk_group": 2}, "config.json").expert_groups == (4, 2)


def test_without_mscale_all_dim_transformers_passes_mscale_over() -> None:
    for more in ({"mscale_all_dim": 0}, {"mscale_all_dim": None}, {"mscale": None, "mscale_all_dim": None}):
        config = {"model_type": "deepseek_v3", "rope_scaling": {**DEEPSEEK_YARN, "mscale": 0.7, **more}}
        assert model_of_config(config, "config.json").yarn == Yarn(factor=40.0, original=4096)


def test_one_renormalised_expert_is_refused_for_qwen() -> None:
    assert "num_experts_per_tok 1" in refused("qwen3_moe", {"num_experts_per_tok": 1, "norm_topk_prob": True})
    plain = {"model_type": "qwen3_moe", "num_experts_per_tok": 1, "norm_topk_prob": False}
    assert model_of_config(plain, "config.json").top_k == 1


def test_a_fix_says_what_to_download_for_quantized_weights() -> None:
    assert "import the unquantized (bf16) weights" in refused("llama", {"quantization_config": {"quant_method": "fp8"}})


def test_control_characters_and_long_values_do_not_reach_the_terminal() -> None:
    for changes in ({"x\x1b[31m": 1}, {"hidden_act": "\x1b]0;x\x07" + "a" * 10_000}):
        message = refused("llama", changes)
        assert message.isprintable()
        assert len(message) < 500


@pytest.mark.parametrize("family", FAMILIES)
def test_the_published_configs_keys_are_known(family: str) -> None:
    """The keys of Llama 2 to 3.1, Mistral 7B, Mixtral 8x7B, Qwen 1.5 to 3 and GPT-2 as their publishers wrote them."""
    common = {"_name_or_path": "x", "bos_token_id": 1, "eos_token_id": [1, 2], "pad_token_id": 0, "use_cache": True}
    common |= {"initializer_range": 0.02, "torch_dtype": "bfloat16", "transformers_version": "4.40.1"}
    common |= {"architectures": [FAMILIES[family].architecture], "attention_dropout": 0.0}
    own: dict[str, dict[str, Any]] = {
        "llama": {"pretraining_tp": 1, "attention_bias": False, "rope_scaling": None, "mlp_bias": False},
        "mistral": {"sliding_window": None, "rope_theta": 1000000.0, "head_dim": 128},
        "mixtral": {"sliding_window": None, "router_aux_loss_coef": 0.02, "output_router_logits": False},
        "qwen2": {"max_window_layers": 28, "sliding_window": 131072, "use_sliding_window": False, "use_mrope": False},
        "qwen3": {"max_window_layers": 36, "sliding_window": None, "rope_scaling": None, "attention_bias": False},
        "qwen2_moe": {"decoder_sparse_step": 1, "max_window_layers": 21, "norm_topk_prob": False, "qkv_bias": True},
        "qwen3_moe": {"max_window_layers": 48, "mlp_only_layers": [], "router_aux_loss_coef": 0.001, "head_dim": 128},
        "ministral": {"sliding_window": 32768, "layer_types": ["sliding_attention"] * 32, "head_dim": 128},
        "smollm3": {"no_rope_layers": [1, 1, 1, 0] * 9, "no_rope_layer_interval": 4, "layer_types": None},
        "phi3": {"embd_pdrop": 0.0, "original_max_position_embeddings": 4096, "sliding_window": 2047},
        "seed_oss": {"attention_out_bias": False, "residual_dropout": 0.1, "attention_bias": True, "head_dim": 128},
        "ernie4_5": {"use_bias": False, "head_dim": 128, "rope_theta": 500000.0},
        "glm4_moe": {
            "head_dim": 128,
            "num_nextn_predict_layers": 1,
            "partial_rotary_factor": 0.5,
            "routed_scaling_factor": 2.5,
        },
        "deepseek_v3": DEEPSEEK,
        "kimi_k2": {**DEEPSEEK, "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 0},
        "deepseek_v2": {"num_experts_per_tok": 6, "topk_method": "greedy", "n_group": 1, "topk_group": 1}
        | {"scoring_func": "softmax", "seq_aux": True, "aux_loss_alpha": 0.001, "ep_size": 1, "moe_layer_freq": 1},
        "gpt_oss": {"initial_context_length": 4096, "experts_per_token": 4, "swiglu_limit": 7.0, "head_dim": 64},
        "nemotron_h": NEMOTRON,
        "gpt2": {"n_ctx": 1024, "summary_type": "cls_index", "task_specific_params": {"text-generation": {}}},
    }
    model_of_config({"model_type": family, **common, **own[family]}, "config.json")
