"""A model of Megatron-Bridge as Megatron's arguments, so that it can be compared with what a checkpoint says. Pure.

Bridge describes a model by a dataclass, its provider. Most fields have the name of an argument. Those that change the
forward pass must agree with the checkpoint, and a field that is on no list here must have its default: so what Bridge
would compute otherwise than Megatron trained is refused by its name.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from megatron_lrps.convert.architecture import APPLIED_ROPE_FACTOR, ROPE_FACTOR
from megatron_lrps.convert.forward_arguments import FORWARD, IGNORED
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.hybrid_pattern import mamba_heads
from megatron_lrps.plan.megatron_arguments import arguments, flag_of

_OTHER_NAMES = {
    "num_moe_experts": "num_experts",
    "rope_scaling": "use_rope_scaling",
    "seq_len_interpolation_factor": "rotary_seq_len_interpolation_factor",
    "yarn_rotary_scaling_factor": "rotary_scaling_factor",
    "yarn_mscale": "mscale",
    "yarn_mscale_all_dim": "mscale_all_dim",
    "hybrid_override_pattern": "hybrid_layer_pattern",
}
"""Field -> the argument's destination, where the names differ and the values do not."""
_READ = frozenset(
    (
        *("gated_linear_unit", "activation_func", "bias_activation_fusion", "share_embeddings_and_output_weights"),
        *("seq_length", "transformer_layer_spec", "hybrid_stack_spec", "mamba_stack_spec"),
    )
)
"""Fields that ``described_arguments`` and ``refuse_beyond_arguments`` read."""
_PASSED = frozenset(
    (
        *("timers", "enable_autocast", "autocast_dtype", "use_te_rng_tracker", "pipeline_dtype", "init_method"),
        *("output_layer_init_method", "embedding_init_method", "perform_initialization", "params_dtype"),
        *("num_layers_in_first_pipeline_stage", "num_layers_in_last_pipeline_stage", "pipeline_model_parallel_layout"),
        *("fp8_param", "fp4_param", "fp8_dot_product_attention", "fp8_multi_head_attention", "tp_only_amax_red"),
        *("activation_func_fp8_input_store", "use_kitchen", "quant_recipe", "use_inference_optimized_layers"),
        *("inference_sampling_seed", "hetereogenous_dist_checkpoint", "parallel_output", "restore_modelopt_state"),
        *("scatter_embedding_sequence_parallel", "use_transformer_engine_full_layer_spec", "dense_grouped_gemm"),
        *("use_transformer_engine_op_fuser", "hf_model_id", "hf_model_revision", "vocab_size", "should_pad_vocab"),
        *("mtp_enabled", "use_arbitrary_attention_mask", "generation_config", "moe_token_dropping"),
        *("init_model_with_meta_device", "text_config"),
    )
)
"""Fields without an argument that leave what the saved weights compute as it is."""
_FOR_SPEED = (
    *("_", "batch_p2p_", "cpu_offloading", "cuda_graph_", "deallocate_pipeline_outputs", "fused_single_qkv"),
    *("disable_parameter_transpose_cache", "memory_efficient_layer_norm", "persist_layer_norm", "tp_comm_"),
    "num_microbatches_with_partial_activation_checkpoints",
)
"""How more of them begin."""
_DEFAULTS: Mapping[str, Any] = {
    "yarn_original_max_position_embeddings": 4096,
    "yarn_beta_fast": 32.0,
    "yarn_beta_slow": 1.0,
    "yarn_correction_range_round_to_int": True,
    "rope_type": "yarn",
}
"""The values of ``None``, as Megatron's own classes have them."""
_MEGATRON = "megatron.core."
PLAIN_MODELS = tuple(f"megatron.bridge.models.{each}" for each in ("gpt_provider", "mla_provider", "hybrid.", "mamba."))
"""The modules whose models are those that Megatron-LM builds of its arguments."""
_YARN = (
    *("yarn_original_max_position_embeddings", "yarn_beta_fast", "yarn_beta_slow"),
    "yarn_correction_range_round_to_int",
)
_SCALES = ("rotary_scaling_factor", "mscale", "mscale_all_dim")
_LATENT = ("q_lora_rank", "kv_lora_rank", "qk_head_dim", "qk_pos_emb_head_dim", "v_head_dim")
_ROPE = (
    *("rotary_base", "rotary_percent", "rotary_interleaved", "use_rope_scaling", "no_rope_freq"),
    "rotary_seq_len_interpolation_factor",
)
_GATED = {"silu": "swiglu", "quick_gelu": "quick_geglu"}
_UNGATED = {"squared_relu": "squared_relu", "openai_gelu": "openai_gelu", "gelu": ""}
"""The last part of an activation's name -> the switch that chooses it."""


class Described(NamedTuple):
    """A provider, as ``bridge_worker.py`` reads it. All values are as JSON has them.

    Attributes:
        fields: Field -> value; a function is its full name, and an enum the name of the member.
        defaults: Field -> its default.
        built_by: The module of the method that builds the model.
    """

    fields: Mapping[str, Any]
    defaults: Mapping[str, Any]
    built_by: str


def described_arguments(model: Described) -> dict[str, Any]:
    """Return Megatron's arguments of a provider, by destination: all that change the forward pass.

    Raises:
        RefusedError: no arguments of Megatron's choose its activation.
    """
    fields = model.fields
    found = {name: value for name, value in fields.items() if name in FORWARD}
    for field, name in _OTHER_NAMES.items():
        if fields.get(field) is not None:
            found[name] = fields[field]
    found["untie_embeddings_and_output_weights"] = not fields.get("share_embeddings_and_output_weights", True)
    found["group_query_attention"] = found.get("num_query_groups") is not None
    found["max_position_embeddings"] = fields.get("seq_length")
    activation, gated = str(fields.get("activation_func")), bool(fields.get("gated_linear_unit"))
    switch = (_GATED if gated else _UNGATED).get(activation.rpartition(".")[2])
    if switch is None:
        raise RefusedError(
            f"Megatron-Bridge gives this model {'a gated ' if gated else ''}{activation}, and Megatron-LM has no "
            "argument for it.",
            "give the config.json of the model that was trained.",
        )
    found |= {name: name == switch for name in (*_GATED.values(), *filter(None, _UNGATED.values()))}
    found["bias_gelu_fusion"] = bool(fields.get("bias_activation_fusion"))
    return found


def refuse_other_model(args: Mapping[str, Any], model: Described, name: str) -> None:
    """Refuse a provider that computes something else than Megatron-LM trained.

    Args:
        args: Megatron's arguments when the checkpoint was saved, by destination.
        model: The provider that Bridge makes of a config.json.
        name: The config.json, for messages.

    Raises:
        RefusedError: naming every argument that differs with both values, or the field that no argument stands for.
    """
    applied = {"rope_scaling_factor": args.get(APPLIED_ROPE_FACTOR) or ROPE_FACTOR}  # whatever the flag said
    ours, theirs = relevant({**args, **applied}), relevant(described_arguments(model))
    if differing := [each for each in FORWARD_AND_FUSION if not same_value(ours.get(each), theirs.get(each))]:
        both = "; ".join(
            f"{flag_of(each)} is {text_of(ours.get(each))}, {name} has {text_of(theirs.get(each))}"
            for each in differing
        )
        raise RefusedError(f"The checkpoint is of another model: {both}.", "correct the config.json.")
    refuse_beyond_arguments(model, name, "give the config.json of the model that was trained.")


def refuse_beyond_arguments(model: Described, name: str, fix: str) -> None:
    """Refuse a provider that says more than Megatron's arguments can.

    Args:
        model: The provider that Bridge makes of a config.json.
        name: The config.json, for messages.
        fix: The mend.

    Raises:
        RefusedError: naming layers of Bridge's own, or the field that no argument stands for.
    """
    places = [model.fields.get(field) for field in ("transformer_layer_spec", "hybrid_stack_spec", "mamba_stack_spec")]
    own = next((str(each) for each in places if each and not str(each).startswith((_MEGATRON, *PLAIN_MODELS))), None)
    if own is not None or not model.built_by.startswith(PLAIN_MODELS):
        raise RefusedError(
            f"For {name}, Megatron-Bridge builds a model of its own ({own or model.built_by}), which no arguments of "
            "Megatron-LM's build.",
            fix,
        )
    for field, value in sorted(model.fields.items()):
        if _counts(field) and not same_value(value, model.defaults.get(field)):
            raise RefusedError(
                f"For {name}, Megatron-Bridge sets {field} to {text_of(value)}, and Megatron-LM has no argument for "
                "it.",
                fix,
            )


def refuse_other_provider(saved: Described, model: Described, name: str) -> None:
    """Refuse a provider that computes something else than the one that Bridge saved with a checkpoint.

    Args:
        saved: The provider of the checkpoint's run_config.yaml.
        model: The provider that Bridge makes of a config.json.
        name: The config.json, for messages.

    Raises:
        RefusedError: naming every field that differs with both values.
    """
    ours, theirs = relevant(described_arguments(saved)), relevant(described_arguments(model))
    differing = {each: (ours.get(each), theirs.get(each)) for each in FORWARD_AND_FUSION}
    layers = ("transformer_layer_spec", "hybrid_stack_spec", "mamba_stack_spec")
    for field in sorted(saved.fields.keys() | model.fields.keys()):
        if _counts(field) or field in layers:
            both = (each.fields.get(field, each.defaults.get(field)) for each in (saved, model))
            differing[field] = tuple(both)
    differing["the module that builds it"] = (saved.built_by, model.built_by)
    words = [
        f"{field} is {text_of(one)}, {name} has {text_of(other)}"
        for field, (one, other) in differing.items()
        if not same_value(one, other)
    ]
    if words:
        raise RefusedError(f"The checkpoint is of another model: {'; '.join(words)}.", "correct the config.json.")


FORWARD_AND_FUSION = (*sorted(FORWARD - IGNORED), "bias_gelu_fusion")
"""The arguments that are compared; the fusion chooses between two kinds of GELU."""


def relevant(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that decide what a model computes, each with its value where several mean the same."""
    found = {name: args.get(name, arguments()[name].default) for name in FORWARD_AND_FUSION}
    found |= {name: value for name, value in _DEFAULTS.items() if found.get(name) is None}
    if not found["group_query_attention"]:
        found["num_query_groups"] = found["num_attention_heads"]
    found["group_query_attention"] = None  # said by the number of groups
    hybrid = found["hybrid_layer_pattern"] or found["hybrid_override_pattern"]
    found |= {"hybrid_layer_pattern": hybrid, "hybrid_override_pattern": None, "is_hybrid_model": bool(hybrid)}
    if found["mamba_num_heads"] is None:
        found["mamba_num_heads"] = mamba_heads(found["hidden_size"], found["mamba_head_dim"])
    if found["kv_channels"] is None:
        found["kv_channels"] = found["hidden_size"] // found["num_attention_heads"]
    if found["moe_ffn_hidden_size"] is None:
        found["moe_ffn_hidden_size"] = found["ffn_hidden_size"]
    if found["moe_router_topk_scaling_factor"] == 1:
        found["moe_router_topk_scaling_factor"] = None
    if (found["moe_router_num_groups"] or 1) == 1 or found["moe_router_group_topk"] == found["moe_router_num_groups"]:
        found["moe_router_num_groups"] = found["moe_router_group_topk"] = None
    found["mtp_num_layers"] = found["mtp_num_layers"] or None
    layers = found["num_layers"]
    for name in ("moe_layer_freq", "window_attn_skip_freq"):
        if isinstance(found[name], int) and not isinstance(found[name], bool) and found[name]:
            skips = name == "window_attn_skip_freq"
            found[name] = [int(((n + skips) % found[name] == 0) != skips) for n in range(layers)]
    experts_alone = not hybrid and isinstance(found["moe_layer_freq"], list) and all(found["moe_layer_freq"])
    if found["num_experts"] and experts_alone:
        found["ffn_hidden_size"] = found["moe_ffn_hidden_size"]  # no layer has an MLP of that width
    for name in _without_effect(found):
        found[name] = None
    return found


def _without_effect(args: Mapping[str, Any]) -> Collection[str]:
    """Return the arguments that change nothing beside the others."""
    kind, latent = args["position_embedding_type"], bool(args["multi_latent_attention"])
    idle = {"encoder_num_layers", "decoder_num_layers", "add_position_embedding"}
    if kind != "learned_absolute":
        idle.add("max_position_embeddings")
    if kind not in ("rope", "yarn"):
        idle.update(_ROPE)
    if kind != "yarn":
        idle.update(_YARN)
    if not latent:
        idle.update((*_LATENT, "rope_type"))
        idle.update(_SCALES if kind != "yarn" else ())
    else:
        idle.add("kv_channels")
    if not args["use_rope_scaling"]:
        idle.add("rope_scaling_factor")
    if args["moe_router_score_function"] == "sigmoid":
        idle.add("moe_router_pre_softmax")  # a weight is a sigmoid of its own score alone
    if not args["num_experts"]:
        idle.update(name for name in FORWARD if name.startswith("moe_"))
    if not args["hybrid_layer_pattern"]:
        idle.update(name for name in FORWARD if name.startswith("mamba_"))
    if not args["experimental_attention_variant"]:
        idle.update(name for name in FORWARD if name.startswith(("linear_", "dsa_")))
    if not args["mtp_num_layers"]:
        idle.update(name for name in FORWARD if name.startswith("mtp_"))
    if args["window_size"] is None:
        idle.add("window_attn_skip_freq")
    if args["hybrid_layer_pattern"]:
        idle.add("num_layers")  # the letters are counted
    if any(args[name] for name in (*_GATED.values(), "squared_relu", "openai_gelu")):
        idle.add("bias_gelu_fusion")
    return idle


def _counts(field: str) -> bool:
    """Whether a field has no argument, and may change what is computed."""
    known = field in arguments() or field in _OTHER_NAMES or field in _READ | _PASSED
    return not known and not field.startswith(_FOR_SPEED) and not field.endswith("_func")


def same_value(one: Any, other: Any) -> bool:
    """Whether two values mean the same to Megatron, which takes None for off."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return bool(one == other) or (one in (None, False) and other in (None, False))


def text_of(value: Any) -> str:
    """Return a value for a message."""
    text = str(value)
    return (text if text.isprintable() else repr(text))[:200]
