"""Keys of config.json as publishers wrote them, where they are many."""

from typing import Any

DEEPSEEK_YARN = {
    "type": "yarn",
    "factor": 40,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}
DEEPSEEK: dict[str, Any] = {
    **{"ep_size": 1, "moe_layer_freq": 1, "scoring_func": "sigmoid", "topk_method": "noaux_tc"},
    **{"num_nextn_predict_layers": 1, "seq_aux": True, "aux_loss_alpha": 0.001, "rope_scaling": DEEPSEEK_YARN},
    "auto_map": {
        "AutoConfig": "configuration_deepseek.DeepseekV3Config",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM",
    },
}
NEMOTRON: dict[str, Any] = {
    **{"attention_bias": False, "chunk_size": 128, "conv_kernel": 4, "head_dim": 128, "hidden_dropout": 0.0},
    **{"hidden_size": 4480, "intermediate_size": 15680, "layer_norm_epsilon": 1e-05, "rms_norm_eps": 1e-05},
    **{"mamba_head_dim": 80, "mamba_hidden_act": "silu", "mamba_num_heads": 128, "mamba_proj_bias": False},
    **{"max_position_embeddings": 131072, "mlp_bias": False, "mlp_hidden_act": "relu2", "n_groups": 8},
    **{"num_attention_heads": 40, "num_hidden_layers": 7, "num_key_value_heads": 8, "num_logits_to_keep": 1},
    **{"rescale_prenorm_residual": True, "residual_in_fp32": False, "sliding_window": None, "ssm_state_size": 128},
    **{"tie_word_embeddings": False, "time_step_floor": 0.0001, "time_step_limit": [0.0, float("inf")]},
    **{"time_step_max": 0.1, "time_step_min": 0.001, "use_bias": False, "use_conv_bias": True},
    **{"use_mamba_kernels": True, "vocab_size": 131072, "hybrid_override_pattern": "M-M*-MM"},
    "auto_map": {
        "AutoConfig": "configuration_nemotron_h.NemotronHConfig",
        "AutoModelForCausalLM": "modeling_nemotron_h.NemotronHForCausalLM",
    },
}
"""Those of Nemotron Nano 9B v2, with fewer layers."""
