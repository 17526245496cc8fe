"""Tiny random models as transformers makes them, one for each architecture."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers

VOCAB = 111
POSITIONS = 64
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1000000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 24.0,
}
_LATENT: dict[str, Any] = {
    **{**SIZES, "num_key_value_heads": 4, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 16},
    **{"qk_rope_head_dim": 8, "v_head_dim": 12, "moe_intermediate_size": 48, "n_routed_experts": 8},
    **{"num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "n_shared_experts": 2},
}
_LATENT_YARN = {
    **{"rope_type": "yarn", "rope_theta": 50000.0, "factor": 40.0, "original_max_position_embeddings": 4096},
    **{"mscale": 0.8, "mscale_all_dim": 1.2},
}
_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "num_local_experts": 4}
_HYBRID: dict[str, Any] = {
    **{key: value for key, value in SIZES.items() if key != "num_hidden_layers"},
    **{"head_dim": 32, "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 24, "n_groups": 2},
    "time_step_min": 1e-30,
}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {**SIZES, "rope_parameters": _LLAMA3}),
    "llama-3.2": ("Llama", {**SIZES, "tie_word_embeddings": True, "rope_parameters": {**_LLAMA3, "factor": 32.0}}),
    "llama-linear": (
        "Llama",
        {**SIZES, "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "llama-tied-biased": ("Llama", {**SIZES, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", {**SIZES, "sliding_window": 16}),
    "ministral": (
        "Ministral",
        {**SIZES, "head_dim": 16, "sliding_window": 16, "layer_types": ["full_attention", *["sliding_attention"] * 3]},
    ),
    "smollm3": ("SmolLM3", {**SIZES, "no_rope_layers": [1, 0, 1, 1], "pad_token_id": None}),
    "smollm3-windows": (
        "SmolLM3",
        {**SIZES, "no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 16, "mlp_bias": True}
        | {"attention_bias": True, "pad_token_id": None, "tie_word_embeddings": False},
    ),
    "phi3": ("Phi3", {**SIZES, "sliding_window": 16, "pad_token_id": None}),
    "phi3-partial": (
        "Phi3",
        {
            **SIZES,
            "pad_token_id": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 250000.0, "partial_rotary_factor": 0.75},
        },
    ),
    "seed_oss": ("SeedOss", {**SIZES, "head_dim": 32, "attention_dropout": 0.0, "residual_dropout": 0.0}),
    "ernie4_5": ("Ernie4_5", {**SIZES, "head_dim": 32}),
    "ernie4_5-biased": ("Ernie4_5", {**SIZES, "use_bias": True, "tie_word_embeddings": False}),
    "qwen2": ("Qwen2", {**SIZES, "num_key_value_heads": 4}),
    "qwen2-windows": (
        "Qwen2",
        {**SIZES, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2},
    ),
    "qwen3-windows": (
        "Qwen3",
        {
            **SIZES,
            "head_dim": 16,
            "use_sliding_window": True,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "qwen2-yarn": ("Qwen2", {**SIZES, "rope_parameters": _YARN}),
    "qwen3": ("Qwen3", {**SIZES, "head_dim": 32, "tie_word_embeddings": True}),
    "mixtral": ("Mixtral", {**SIZES, **_EXPERTS}),
    "qwen3_moe": (
        "Qwen3Moe",
        {**SIZES, **_EXPERTS, "head_dim": 16, "moe_intermediate_size": 48, "norm_topk_prob": True},
    ),
    "qwen3_moe-dense": (
        "Qwen3Moe",
        {**SIZES, **_EXPERTS, "head_dim": 16, "moe_intermediate_size": 48, "decoder_sparse_step": 2}
        | {"mlp_only_layers": [1], "tie_word_embeddings": True},
    ),
    "qwen2_moe": (
        "Qwen2Moe",
        {**SIZES, **_EXPERTS, "moe_intermediate_size": 48, "shared_expert_intermediate_size": 80, "num_experts": 4},
    ),
    "glm4_moe": (
        "Glm4Moe",
        {**SIZES, "head_dim": 32, "moe_intermediate_size": 48, "num_experts_per_tok": 2, "n_routed_experts": 4}
        | {"first_k_dense_replace": 1, "n_shared_experts": 2, "routed_scaling_factor": 2.5, "use_qk_norm": True}
        | {"attention_bias": True, "num_mtp_layers": 0},
    ),
    "glm4_moe-groups": (
        "Glm4Moe",
        {**SIZES, "head_dim": 16, "moe_intermediate_size": 48, "num_experts_per_tok": 4, "n_routed_experts": 8}
        | {"first_k_dense_replace": 0, "n_group": 4, "topk_group": 2, "num_mtp_layers": 0},
    ),
    "deepseek_v3": ("DeepseekV3", {**_LATENT, "rope_parameters": _LATENT_YARN}),
    "deepseek_v3-plain": (
        "DeepseekV3",
        {**_LATENT, "first_k_dense_replace": 0, "n_group": 1, "topk_group": 1, "tie_word_embeddings": True},
    ),
    "kimi_k2": ("DeepseekV3", {**_LATENT, "n_group": 1, "topk_group": 1, "rope_parameters": _LATENT_YARN}),
    "deepseek_v2": (
        "DeepseekV2",
        {
            **_LATENT,
            "n_group": None,
            "topk_group": None,
            "routed_scaling_factor": 16.0,
            "rope_parameters": _LATENT_YARN,
        },
    ),
    "deepseek_v2-groups": (
        "DeepseekV2",
        {**_LATENT, "topk_method": "group_limited_greedy", "num_experts_per_tok": 3, "topk_group": 3},
    ),
    "gpt_oss": (
        "GptOss",
        {**SIZES, **_EXPERTS, "head_dim": 32, "intermediate_size": 64, "sliding_window": 16, "swiglu_limit": 0.5}
        | {"rope_parameters": {**_YARN, "rope_theta": 150000.0, "truncate": False}},
    ),
    "nemotron_h": (
        "NemotronH",
        {**_HYBRID, "layers_block_type": ["linear_attention", "mlp", "linear_attention", "full_attention"]},
    ),
    "nemotron_h-experts": (
        "NemotronH",
        {**_HYBRID, "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"]}
        | {"n_routed_experts": 8, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "moe_intermediate_size": 48}
        | {"moe_shared_expert_intermediate_size": 80, "routed_scaling_factor": 2.5},
    ),
    "gpt2": (
        "GPT2",
        {"vocab_size": VOCAB, "n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": POSITIONS, "bos_token_id": 1}
        | {"eos_token_id": 2},
    ),
}
"""Name -> prefix of transformers' classes, and the config."""
OTHER_TYPES = {"kimi_k2": "kimi_k2"}
"""Name -> the ``model_type`` that its publisher gave it, and that transformers does not have."""


def save_model(folder: Path, name: str, *, dtype: torch.dtype = torch.float32) -> Path:
    """Save the model ``name`` of ``CONFIGS``, with norms and biases that are not all one and zero."""
    kind, config = CONFIGS[name]
    torch.manual_seed(3)
    head = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    model = getattr(transformers, head)(getattr(transformers, f"{kind}Config")(**config))
    biases = [value for name, value in model.state_dict().items() if name.endswith("correction_bias")]
    for values in (*model.parameters(), *biases):
        values.data += 0.05 * torch.randn_like(values)
    model.to(dtype).save_pretrained(folder)
    if name in OTHER_TYPES:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": OTHER_TYPES[name]}))
    return folder
