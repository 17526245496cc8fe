"""GPT training with megatron-core 0.19 and later: the model is built from a configuration."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from megatron.core.enums import ModelType
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.training import pretrain
from megatron.training.argument_utils import (
    gpt_config_from_args,
    hybrid_config_from_args,
    pretrain_cfg_container_from_args,
)
from megatron.training.arguments import parse_and_validate_args

from megatron_lrps.training.megatron.gpt_batch import predicts_more, share_batch
from megatron_lrps.training.megatron.gpt_parts import GptParts, applied_rope_factor
from megatron_lrps.training.megatron.hybrid_layers import hybrid_layers, is_hybrid
from megatron_lrps.training.megatron.layer_spec import layer_spec


def _config(args: Namespace) -> Any:
    """Return Megatron's configuration of the model, with ``--rope-scaling-factor``, which Megatron's function drops."""
    if is_hybrid(args):
        layers = hybrid_layers(args)
        config = hybrid_config_from_args(args)
        config.hybrid_stack_spec = layers
        return config
    layer_spec(args)  # Megatron's function takes its own layers where it finds none
    config = gpt_config_from_args(args)
    config.rope_scaling_factor = applied_rope_factor(args)
    return config


def _builder(args: Namespace, settings: dict[str, Any]) -> Callable[[int | None], Any]:
    modules = settings.get("transformer_impl", args.transformer_impl)
    config = _config(Namespace(**{**vars(args), "transformer_impl": modules}))
    for name, value in settings.items():
        setattr(config.transformer, name, value)
    build, groups = config.get_builder_cls()(config).build_model, ProcessGroupCollection.use_mpu_process_groups()
    return lambda vp_stage: build(groups, vp_stage=vp_stage)


def _train(check: Callable[[Namespace], None], datasets: Any, forward_step: Any, embedding_ranks: Any) -> None:
    args = parse_and_validate_args()
    check(args)
    container = pretrain_cfg_container_from_args(args, _config(args))
    kind = ModelType.encoder_or_decoder
    pretrain(container, datasets, kind, forward_step, get_embedding_ranks=embedding_ranks)


PARTS = GptParts(predicts_more=predicts_more, share_batch=share_batch, builder=_builder, train=_train)
