"""The layers of a hybrid model: Megatron's own, which need Transformer Engine, or the same of its local modules."""

import dataclasses
import importlib.util
from argparse import Namespace
from typing import Any

from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.ssm.mamba_layer import MambaLayer, MambaLayerSubmodules
from megatron.core.ssm.mamba_mixer import MambaMixer, MambaMixerSubmodules
from megatron.core.ssm.mlp_layer import MLPLayer
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_layer import (
    MoETransformerLayer,
    TransformerLayer,
    TransformerLayerSubmodules,
)

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.hybrid_pattern import GPU_LAYERS, PATTERNS
from megatron_lrps.training.megatron.installed import installed_release, installed_version
from megatron_lrps.training.megatron.layer_spec import layer_spec
from megatron_lrps.training.megatron.names import HybridNames
from megatron_lrps.training.megatron.patching import replace

_FUSED_NORMS = {
    "input_layernorm.": "self_attention.linear_qkv.layer_norm_",
    "pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_",
}
_MAMBA_NORM = {"norm.": "mixer.in_proj.layer_norm_"}
"""Local norm -> its name in checkpoints: that of the layer into which Transformer Engine fuses it."""


def is_hybrid(args: Namespace) -> bool:
    """Whether the arguments are of a hybrid model: they have its pattern, under its name or its older one."""
    return any(getattr(args, flag.replace("-", "_"), None) is not None for flag in PATTERNS)


def hybrid_names() -> HybridNames:
    """Return the installed release's names of a hybrid model; raises RefusedError if the plugin knows none."""
    release = installed_release()
    if release.hybrid is None:
        raise RefusedError(
            f"Hybrid models are trained with megatron-core 0.17 and newer, and {installed_version()} is installed.",
            f"{release.fix} A script of your own is run by: python -m megatron_lrps SCRIPT ...",
        )
    return release.hybrid


def hybrid_layers(args: Namespace) -> Any:
    """Return the specification of a hybrid model's layers; None for Megatron's own.

    Args:
        args: Megatron's arguments, with ``hybrid_layer_pattern``.

    Raises:
        RefusedError: ``--spec`` is wrong, or the pattern has a layer that Megatron's local modules cannot make.
    """
    given = layer_spec(args)
    if args.transformer_impl != "local":
        return given
    names = hybrid_names()
    if given is not None and given is not names.layers.get():
        return given
    kind = next((kind for kind in GPU_LAYERS if kind in args.hybrid_layer_pattern), None)
    if kind is not None:
        raise RefusedError(
            f"--hybrid-layer-pattern {args.hybrid_layer_pattern} has {kind}, {GPU_LAYERS[kind]}, but "
            "--transformer-impl is local.",
            "use other layers, or --transformer-impl transformer_engine.",
        )
    return local_layers(args)


def local_layers(args: Namespace) -> Any:
    """Return the specification of a hybrid model's layers of Megatron's local modules.

    Args:
        args: Megatron's arguments, of which the norms, ``num_experts`` and ``multi_latent_attention`` are read.

    Raises:
        RefusedError: the plugin knows no hybrid models of the installed release.
    """
    names = hybrid_names()
    local = get_gpt_layer_local_spec(
        normalization=args.normalization, qk_layernorm=args.qk_layernorm, qk_l2_norm=args.qk_l2_norm
    ).submodules
    layers = {
        "attention_layer": _attention(local),
        "mamba_layer": _mamba(local),
        "mlp_layer": ModuleSpec(module=MLPLayer, submodules=_mlp(local, _FUSED_NORMS)),
        "mtp_block_spec": _predictions(names.layers.get().submodules.mtp_block_spec, local),
    }
    if args.num_experts is not None:
        experts = get_gpt_layer_local_spec(num_experts=args.num_experts, normalization=args.normalization)
        layers["moe_layer"] = ModuleSpec(module=MoETransformerLayer, submodules=_mlp(experts.submodules, {}))
    if args.multi_latent_attention:
        latent = get_gpt_layer_local_spec(normalization=args.normalization, multi_latent_attention=True).submodules
        layers["mla_layer"] = _attention(latent)
    if importlib.util.find_spec("transformer_engine") is None:
        # The stack makes its last norm itself, of Transformer Engine.
        replace(names.norm.owner, names.norm.key, local.input_layernorm)
    return ModuleSpec(module=names.stack.get(), submodules=names.submodules.get()(**layers))


def _mamba(local: Any) -> Any:
    attention = local.self_attention.submodules
    projections = MambaMixerSubmodules(in_proj=attention.linear_qkv, out_proj=attention.linear_proj)
    return ModuleSpec(
        module=MambaLayer,
        submodules=MambaLayerSubmodules(
            norm=local.input_layernorm,
            mixer=ModuleSpec(module=MambaMixer, submodules=projections),
            mamba_bda=local.self_attn_bda,
            sharded_state_dict_keys_map=_MAMBA_NORM,
        ),
    )


def _attention(local: Any) -> Any:
    kept = {"input_layernorm": local.input_layernorm, "self_attention": local.self_attention}
    names = _FUSED_NORMS if local.sharded_state_dict_keys_map else {}  # MLA's norm is not fused
    return ModuleSpec(module=TransformerLayer, submodules=_submodules(names, **kept, self_attn_bda=local.self_attn_bda))


def _mlp(local: Any, names: dict[str, str]) -> TransformerLayerSubmodules:
    return _submodules(names, pre_mlp_layernorm=local.pre_mlp_layernorm, mlp=local.mlp, mlp_bda=local.mlp_bda)


def _submodules(names: dict[str, str], **kept: Any) -> TransformerLayerSubmodules:
    mapped = {name: fused for name, fused in names.items() if name.rstrip(".") in kept}
    return TransformerLayerSubmodules(**kept, sharded_state_dict_keys_map=mapped)


def _predictions(own: Any, local: Any) -> Any:
    """Return Megatron's layers that predict further tokens, with local modules."""
    layer = own.submodules.layer_specs[0]
    norms = dict.fromkeys(("enorm", "hnorm", "layer_norm"), local.input_layernorm)
    column = local.self_attention.submodules.linear_qkv
    submodules = dataclasses.replace(layer.submodules, **norms, eh_proj=column)
    made = [ModuleSpec(module=layer.module, submodules=submodules)]
    return ModuleSpec(module=own.module, submodules=dataclasses.replace(own.submodules, layer_specs=made))
