"""Megatron's arguments that change what a model computes: each is read, or must have a value that changes nothing.

The classes of ``plan/megatron_arguments.tsv`` say which arguments these are, and a test compares that table with the
installed Megatron's parser. An argument that is not in the table, of another release or of a script, is refused too
unless it is off.
"""

from collections.abc import Collection, Mapping
from typing import Any

from megatron_lrps.convert.architecture import APPLIED_ROPE_FACTOR
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.hybrid_pattern import ATTENTION, EXPERTS, MAMBA, MLP, STAGE
from megatron_lrps.plan.megatron_arguments import arguments, flag_of

READ = frozenset(
    (
        *("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "kv_channels", "num_query_groups"),
        *("group_query_attention", "swiglu", "untie_embeddings_and_output_weights", "add_bias_linear", "add_qkv_bias"),
        *("layernorm_epsilon", "normalization", "qk_layernorm", "window_size", "max_position_embeddings"),
        *("window_attn_skip_freq", "no_rope_freq", "rotary_percent", "rotary_interleaved"),
        *("moe_layer_freq", "moe_router_score_function", "moe_router_enable_expert_bias"),
        *("moe_router_topk_scaling_factor", "softmax_type", "quick_geglu", "glu_linear_offset"),
        "activation_func_clamp_value",
        *("position_embedding_type", "rotary_base", "rotary_seq_len_interpolation_factor", "use_rope_scaling"),
        *("rope_scaling_factor", "num_experts", "moe_ffn_hidden_size", "moe_router_topk", "moe_router_pre_softmax"),
        *("moe_shared_expert_intermediate_size", "moe_shared_expert_gate", "rotary_scaling_factor"),
        *("yarn_original_max_position_embeddings", "yarn_beta_fast", "yarn_beta_slow"),
        *("yarn_correction_range_round_to_int", "mscale", "mscale_all_dim", "rope_type"),
        *("moe_router_num_groups", "moe_router_group_topk", "multi_latent_attention"),
        *("q_lora_rank", "kv_lora_rank", "qk_head_dim", "qk_pos_emb_head_dim", "v_head_dim", "squared_relu"),
        *("hybrid_layer_pattern", "hybrid_override_pattern", "mamba_state_dim", "mamba_head_dim", "mamba_num_groups"),
        "mamba_num_heads",
    )
)
"""Those that a ``Model`` is made of."""
IGNORED = frozenset(
    (
        *("hidden_dropout", "attention_dropout"),  # only while training
        *("transformer_impl", "moe_use_upcycling", "moe_upcycling_granularity"),  # another way to the same weights
        "is_hybrid_model",  # a random beginning
        *("encoder_num_layers", "use_rotary_position_embeddings", "add_position_embedding"),  # other names of READ ones
        *("relative_attention_num_buckets", "relative_attention_max_distance"),  # of a refused position_embedding_type
    )
)
"""Those that leave what the saved weights compute as it is."""
OTHER_VALUES: Mapping[str, tuple[Any, ...]] = {
    "heterogeneous_layers_config_path": (None,),
    "moe_router_load_balancing_type": ("aux_loss", "seq_aux_loss", "global_aux_loss", "none"),
    "mtp_num_layers": (None, 0),
    "yaml_cfg": (None,),
}
"""Argument -> the values with which a model can be exported, where these are not the default alone."""
OTHER_RELEASES = frozenset(
    (
        *("async_tensor_model_parallel_allreduce", "scatter_gather_tensors_in_pipeline", "enable_gloo_process_groups"),
        *("cuda_graph_scope", "batch_invariant_backend", "megatron_fsdp_version", "gtp_remat_opt_in_modules"),
        *("inference_dynamic_batching_cuda_graph_max_tokens", "langrl_inference_server_type", "save_tokenizer_assets"),
        *(
            "rl_parallel_generation_tasks",
            "rl_rollout_bank_max_bytes",
            "tokenizer_hf_use_fast",
            "moe_combine_bwd_dtype",
        ),
        *("tokenizer_hf_include_special_tokens", "disable_chunked_prefill", "inference_max_batch_size"),
        # Read beside a switch alone, which is refused where it is on.
        *("gdp_num_chunk_states_to_recompute", "gdp_num_householder", "mhc_init_gating_factor"),
        *("mhc_num_residual_streams", "mhc_sinkhorn_iterations"),
    )
)
"""Those of Megatron 0.16, 0.17, 0.18 or 0.20 that 0.19 has not, and that leave what the weights compute as it is."""
_OFF: Mapping[str, Any] = {"hybrid_attention_ratio": 0.0, "hybrid_mlp_ratio": 0.0, "moe_dispatch_fwd_dtype": "bf16"}
"""More of theirs -> the value that changes nothing, where that is neither None nor False."""
_COMPUTED_LAYERS = (ATTENTION, MLP, EXPERTS, MAMBA, STAGE)
_COMPUTED_TOO = frozenset(("layernorm_zero_centered_gamma", "mtp_num_layers"))
OTHER_WAYS = "export it as torch_dist or torch; docs/convert.md lists the Hugging Face families and their arguments."
"""The fix for a model of no family."""
_CLASSES = ("size", "model")
FORWARD = frozenset(name for name, argument in arguments().items() if argument.in_class in _CLASSES)
"""All arguments that change the forward pass, or that the sizes of the weights follow from."""
_OWN = "lrps_"


def refuse_other_forward(args: Mapping[str, Any], *, allow: Collection[str] = ()) -> None:
    """Refuse a checkpoint whose arguments make it compute something that no ``Model`` describes.

    Args:
        args: Megatron's arguments when the checkpoint was saved, by destination.
        allow: Arguments outside Megatron's that the user says do not change the forward pass.

    Raises:
        RefusedError: naming the first such argument and its value.
    """
    refuse_unknown_arguments(args, allow=allow)
    known = arguments()
    for name, value in sorted(args.items()):
        if name not in known:
            continue
        allowed = OTHER_VALUES.get(name)
        if allowed is None:
            if name not in FORWARD or name in READ | IGNORED:
                continue
            allowed = (known[name].default,)
        found = value if isinstance(value, list | tuple) else [value]
        if not all(any(_same(each, one) for one in allowed) for each in found or [allowed[0]]):
            raise refused_argument(name, value)


def refuse_unknown_arguments(args: Mapping[str, Any], *, allow: Collection[str] = ()) -> None:
    """Refuse arguments that are not Megatron's, unless they are off; as ``refuse_other_forward`` does."""
    for name, value in sorted(args.items()):
        if name in arguments() or value is None or value is False or name.startswith(_OWN):
            continue
        if name in (APPLIED_ROPE_FACTOR, *allow, *OTHER_RELEASES) or (name in _OFF and _same(value, _OFF[name])):
            continue
        raise RefusedError(
            f"The checkpoint was saved with {flag_of(name)} {_text(value)}, an argument that megatron-core 0.19 "
            "does not have, so it may change what the model computes.",
            f"export it as torch_dist or torch, or, if it changes nothing, add --allow {name}.",
        )


def not_computed(args: Mapping[str, Any]) -> str | None:
    """Return the first argument with which ``megatron_logits.py`` cannot build a model, or None.

    Args:
        args: Megatron's arguments of the model, by destination.
    """
    for name in ("hybrid_layer_pattern", "hybrid_override_pattern"):
        if {*str(args.get(name) or "")} - {*_COMPUTED_LAYERS}:
            return name
    for name in sorted(FORWARD - READ - IGNORED - _COMPUTED_TOO):
        if (value := args.get(name)) not in (None, False) and not _same(value, arguments()[name].default):
            return name
    return None


def refused_argument(name: str, value: Any) -> RefusedError:
    """Return the error for an argument that the Hugging Face model closest to the others does not have."""
    return RefusedError(
        f"The checkpoint was trained with --{name.replace('_', '-')} {_text(value)}, but the Hugging Face model that "
        "fits its other arguments best has no such thing.",
        OTHER_WAYS,
    )


def _same(value: Any, allowed: Any) -> bool:
    return bool(value == allowed) and isinstance(value, bool) == isinstance(allowed, bool)


def _text(value: Any) -> str:
    text = str(value)
    return (text if text.isprintable() else repr(text))[:200]
