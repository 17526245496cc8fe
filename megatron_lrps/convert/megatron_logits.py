"""Logits computed by Megatron itself: ``python -m megatron_lrps.convert.megatron_logits CHECKPOINT OUT``.

This runs in a separate process, on the CPU backend: Megatron's GPT model, loaded by Megatron's own checkpoint code,
computes in fp32. It reads ``{"batches": [[[...], ...], ...], "kept": [...], "dtype": "bfloat16" or null}`` on stdin:
batches of sequences of one length, the number of last tokens to keep of each, and the dtype that the copy was rounded
to. OUT is an .npz file with one float32 [sequences, kept tokens, padded vocabulary] for each batch.
"""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FIELDS = (
    *("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "kv_channels", "layernorm_epsilon"),
    *("add_bias_linear", "add_qkv_bias", "normalization", "qk_layernorm", "window_size"),
    *("window_attn_skip_freq", "no_rope_freq", "rotary_interleaved"),
    *("moe_ffn_hidden_size", "moe_router_topk", "moe_router_pre_softmax"),
    *("moe_shared_expert_intermediate_size", "moe_shared_expert_gate", "moe_layer_freq"),
    *("softmax_type", "glu_linear_offset", "activation_func_clamp_value"),
    *("moe_router_score_function", "moe_router_enable_expert_bias", "moe_router_topk_scaling_factor"),
    *("moe_router_num_groups", "moe_router_group_topk"),
    *("mamba_num_heads", "mamba_head_dim", "mamba_state_dim", "mamba_num_groups"),
)
_LATENT_FIELDS = (
    *("multi_latent_attention", "q_lora_rank", "kv_lora_rank", "qk_head_dim", "qk_pos_emb_head_dim", "v_head_dim"),
    *("rope_type", "rotary_base", "rotary_percent", "rotary_scaling_factor", "mscale", "mscale_all_dim"),
)
"""The fields of TransformerConfig, and of MLATransformerConfig, that have an argument's name and that
``model_arguments.py`` lets through."""
_OF_LAYERS = ("normalization", "qk_layernorm", "qk_l2_norm", "multi_latent_attention")
"""The arguments that the layers of a hybrid model are chosen by."""


def _build(args: Mapping[str, Any], padded: int) -> Any:
    """Build Megatron's model for a checkpoint's arguments, in fp32 on one rank, and start its process group."""
    import torch
    from megatron.core import parallel_state
    from megatron.core.activations import squared_relu
    from megatron.core.fusions.fused_bias_geglu import quick_gelu
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_decoder_block_spec
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
    from megatron.core.transformer import MLATransformerConfig, TransformerConfig
    from megatron.core.transformer.enums import AttnBackend
    from torch._C._distributed_c10d import HashStore

    from megatron_lrps.convert.architecture import APPLIED_ROPE_FACTOR, ROPE_FACTOR
    from megatron_lrps.convert.hybrid_arguments import with_one_pattern
    from megatron_lrps.convert.rope_arguments import rope_of_args
    from megatron_lrps.plan.hybrid_pattern import STAGE

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        parallel_state.initialize_model_parallel()
    model_parallel_cuda_manual_seed(0)
    experts = args.get("num_experts") or None
    swiglu, quick = args["swiglu"], bool(args.get("quick_geglu"))
    activations = {(True, False): torch.nn.functional.silu, (False, True): quick_gelu}
    ungated = squared_relu if args.get("squared_relu") else torch.nn.functional.gelu
    latent = bool(args.get("multi_latent_attention"))
    kind, fields = (MLATransformerConfig, _FIELDS + _LATENT_FIELDS) if latent else (TransformerConfig, _FIELDS)
    config = kind(
        **{name: args[name] for name in fields if args.get(name) is not None},
        num_query_groups=args["num_query_groups"] if args.get("group_query_attention") else None,
        num_moe_experts=experts,
        gated_linear_unit=swiglu or quick,
        activation_func=activations.get((swiglu, quick), ungated),
        bias_activation_fusion=bool(args.get("bias_gelu_fusion"))
        and ungated is torch.nn.functional.gelu
        and not swiglu
        and not quick,
        attention_backend=AttnBackend.unfused,
        use_cpu_initialization=True,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        masked_softmax_fusion=False,
        persist_layer_norm=False,
        gradient_accumulation_fusion=False,
        moe_token_dispatcher_type="alltoall",
    )
    if (
        not latent and (yarn := rope_of_args(args).get("yarn")) is not None
    ):  # as megatron.training sets them on the config
        config.yarn_rotary_scaling_factor = yarn.factor
        config.yarn_original_max_position_embeddings = yarn.original
        config.yarn_beta_fast, config.yarn_beta_slow = yarn.fast, yarn.slow
        config.yarn_mscale, config.yarn_mscale_all_dim = 1.0, 0.0
        config.yarn_correction_range_round_to_int = yarn.whole
    common = {
        "vocab_size": padded,
        "max_sequence_length": args["max_position_embeddings"],
        "share_embeddings_and_output_weights": not args["untie_embeddings_and_output_weights"],
        "position_embedding_type": args["position_embedding_type"],
        "rotary_base": args["rotary_base"],
        "rotary_percent": args.get("rotary_percent", 1.0),
        "seq_len_interpolation_factor": args.get("rotary_seq_len_interpolation_factor"),
    }
    if pattern := with_one_pattern(args).get("hybrid_layer_pattern"):
        from megatron_lrps.training.megatron.hybrid_layers import hybrid_names, local_layers

        layers = local_layers(Namespace(**{**dict.fromkeys(_OF_LAYERS), **args, "num_experts": experts}))
        build = hybrid_names().model.get()
        return build(config, layers, hybrid_layer_pattern=pattern.replace(STAGE, ""), **common).eval()
    model = GPTModel(
        config=config,
        transformer_layer_spec=get_gpt_decoder_block_spec(
            config, use_transformer_engine=False, normalization=config.normalization
        ),
        rope_scaling=args["use_rope_scaling"],
        rope_scaling_factor=args.get(APPLIED_ROPE_FACTOR) or ROPE_FACTOR,
        **common,
    )
    return model.eval()


def load_model(checkpoint: Path) -> Any:
    """Load a checkpoint into Megatron's model, on the CPU in fp32.

    Megatron's own code loads the weights. The scales of FP8 training have no place in this model.
    """
    from megatron_lrps.training import cpu

    cpu.install()
    from megatron.core import dist_checkpointing

    from megatron_lrps.convert.mapping import WORD_EMBEDDING, stored_key
    from megatron_lrps.convert.torch_dist import open_checkpoint

    opened = open_checkpoint(checkpoint)
    model = _build(opened.args, opened.tensors[WORD_EMBEDDING].shape[0])
    sharded = {key: value for key, value in model.sharded_state_dict().items() if "_extra_state" not in key}
    for tensor in sharded.values():
        tensor.key = stored_key(tensor.key, opened.tensors)  # this model's layers name the norms differently
    loaded = dist_checkpointing.load(sharded, str(checkpoint))
    loaded = {key: loaded[key] for key in sharded}  # Megatron adds the common state
    missing, unexpected = model.load_state_dict(loaded, strict=False)
    wrong = [key for key in (*missing, *unexpected) if "_extra_state" not in key]
    if wrong:
        raise SystemExit(f"Megatron does not find {wrong[0]} in {checkpoint}")
    if opened.args.get("layernorm_zero_centered_gamma"):
        _add_one_to_norms(model)
    return model


def _add_one_to_norms(model: Any) -> None:
    """Make of ``--apply-layernorm-1p``'s norms such as torch's, which the layers without Transformer Engine have."""
    import torch

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm | torch.nn.RMSNorm):
                module.weight.add_(1)


def logits_of(model: Any, ids: Any) -> Any:
    """Return the logits [batch, length, padded vocabulary] of ids [batch, length]."""
    import torch

    return model(ids, torch.arange(ids.shape[1]).expand_as(ids), None)


def main(checkpoint: Path, out: Path) -> None:
    """Compute the logits and write them."""
    model = load_model(checkpoint)
    import numpy as np
    import torch

    asked = json.load(sys.stdin)
    with torch.no_grad():
        if asked["dtype"]:
            for parameter in model.parameters():
                parameter.copy_(parameter.to(getattr(torch, asked["dtype"])))
        logits = [
            logits_of(model, torch.tensor(batch))[:, -kept:].float().numpy()
            for batch, kept in zip(asked["batches"], asked["kept"], strict=True)
        ]
    np.savez(out, *logits)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    main(Path(sys.argv[1]), Path(sys.argv[2]))
