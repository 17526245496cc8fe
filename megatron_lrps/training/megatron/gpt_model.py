"""Builds pipeline stages of GPT and hybrid models for releases without a builder of them: megatron-core up to 0.18.

Megatron-LM's own ``gpt_builders.py``, which wheels do not ship, says which layers belong to which arguments.
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from megatron.core import mpu
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt import gpt_layer_specs as specs
from megatron.core.models.gpt.experimental_attention_variant_module_specs import (
    get_transformer_block_with_experimental_attention_variant_spec as variant_spec,
)
from megatron.core.models.gpt.heterogeneous.heterogeneous_layer_specs import get_gpt_heterogeneous_layer_spec
from megatron.training import get_args
from megatron.training.arguments import core_transformer_config_from_args

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron.gpt_parts import applied_rope_factor
from megatron_lrps.training.megatron.hybrid_layers import hybrid_layers, hybrid_names, is_hybrid
from megatron_lrps.training.megatron.layer_spec import layer_spec


def provide_gpt(
    pre_process: bool = True,
    post_process: bool = True,
    vp_stage: int | None = None,
    config: Any = None,
    pg_collection: Any = None,
) -> Any:
    """Build a stage as Megatron's ``pretrain`` asks for it; the parameters are Megatron's."""
    args = get_args()
    config = config or core_transformer_config_from_args(args)
    return _build(args, config, pre_process, post_process, vp_stage, pg_collection)


def builder(args: Namespace, settings: dict[str, Any]) -> Callable[[int | None], Any]:
    """Return the function that builds this rank's part for a virtual stage, with ``settings`` of its configuration."""
    config = core_transformer_config_from_args(args)
    for name, value in settings.items():
        setattr(config, name, value)
    args = Namespace(**{**vars(args), "transformer_impl": config.transformer_impl})

    def build(vp_stage: int | None) -> Any:
        first = mpu.is_pipeline_first_stage(ignore_virtual=False, vp_stage=vp_stage)
        last = mpu.is_pipeline_last_stage(ignore_virtual=False, vp_stage=vp_stage)
        return _build(args, config, first, last, vp_stage, None)

    return build


def _build(
    args: Namespace, config: Any, pre_process: bool, post_process: bool, vp_stage: int | None, groups: Any
) -> Any:
    common = {
        "pre_process": pre_process,
        "post_process": post_process,
        "fp16_lm_cross_entropy": args.fp16_lm_cross_entropy,
        "parallel_output": True,
        "share_embeddings_and_output_weights": not args.untie_embeddings_and_output_weights,
        "position_embedding_type": args.position_embedding_type,
        "rotary_percent": args.rotary_percent,
        "rotary_base": args.rotary_base,
        "seq_len_interpolation_factor": args.rotary_seq_len_interpolation_factor,
        "vp_stage": vp_stage,
        "pg_collection": groups,
    }
    sizes = args.padded_vocab_size, args.max_position_embeddings
    if is_hybrid(args):
        names = hybrid_names()
        layers = hybrid_layers(args)
        if layers is None and (args.qk_layernorm or args.qk_l2_norm):
            raise RefusedError(
                "--qk-layernorm or --qk-l2-norm is given, and megatron-core's hybrid layers read it from 0.19 on.",
                "remove it, or name layers of your own by --spec.",
            )
        layers = layers or names.layers.get()
        return names.model.get()(config, layers, *sizes, hybrid_layer_pattern=args.hybrid_layer_pattern, **common)
    fused = args.transformer_impl == "transformer_engine"
    layers = _layers(args, config, fused, vp_stage)
    return GPTModel(
        config,
        layers,
        *sizes,
        rope_scaling=args.use_rope_scaling,
        rope_scaling_factor=applied_rope_factor(args),
        mtp_block_spec=_predictions(args, config, layers, fused, vp_stage) if args.mtp_num_layers else None,
        **common,
    )


def _layers(args: Namespace, config: Any, fused: bool, vp_stage: int | None) -> Any:
    if (given := layer_spec(args)) is not None:
        return given
    if args.experimental_attention_variant is not None:
        return variant_spec(config=config, vp_stage=vp_stage)
    if args.heterogeneous_layers_config_path is not None and not args.num_experts:
        return get_gpt_heterogeneous_layer_spec(config, fused)
    return specs.get_gpt_decoder_block_spec(
        config,
        use_transformer_engine=fused,
        normalization=args.normalization,
        qk_l2_norm=args.qk_l2_norm,
        vp_stage=vp_stage,
    )


def _predictions(args: Namespace, config: Any, layers: Any, fused: bool, vp_stage: int | None) -> Any:
    """Return the layers of multi-token prediction, each like the decoder's last one."""
    if not getattr(layers, "layer_specs", True):  # a stage without decoder layers
        layers = specs.get_gpt_decoder_layer_specs(
            config, use_transformer_engine=fused, normalization=args.normalization, qk_l2_norm=args.qk_l2_norm
        )[-1]
    return specs.get_gpt_mtp_block_spec(config, layers, use_transformer_engine=fused, vp_stage=vp_stage)
