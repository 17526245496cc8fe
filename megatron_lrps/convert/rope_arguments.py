"""The rotary embedding of a model from Megatron's arguments, and Megatron's arguments for it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from megatron_lrps.convert.architecture import APPLIED_ROPE_FACTOR, LATENT_YARN, ROPE_FACTOR, Model, Yarn
from megatron_lrps.convert.forward_arguments import refused_argument
from megatron_lrps.errors import RefusedError

YARN = ("rotary_scaling_factor", "yarn_original_max_position_embeddings", "yarn_beta_fast", "yarn_beta_slow")
"""Megatron's arguments of YaRN; their defaults are those of ``YarnRotaryEmbedding``."""
MSCALES: Mapping[str, float] = {"mscale": 1.0, "mscale_all_dim": 0.0}
"""More of them, with their defaults, that only multi-latent attention has other values of."""
_ROUND, _LINEAR = "yarn_correction_range_round_to_int", "rotary_seq_len_interpolation_factor"


def rope_of_args(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of ``Model`` that describe the rotary embedding.

    Raises:
        RefusedError: two kinds of scaling are combined, or ``--rope-scaling-factor`` was not what was computed with.
    """
    interpolation = args.get(_LINEAR)
    found: dict[str, Any] = {
        "rope_base": float(args.get("rotary_base", 10000)),
        "rope_interpolation": interpolation if interpolation != 1 else None,
        "rope_share": float(args.get("rotary_percent", 1.0)),
        "rope_interleaved": bool(args.get("rotary_interleaved")),
    }
    if args.get("use_rope_scaling"):
        said, applied = args.get("rope_scaling_factor", ROPE_FACTOR), args.get(APPLIED_ROPE_FACTOR) or ROPE_FACTOR
        if said != applied:
            raise RefusedError(
                f"The checkpoint says --rope-scaling-factor {said}, but it was trained with {applied:g}: megatron-core "
                "0.19 drops the flag unless `python -m megatron_lrps.pretrain` trains.",
                f"if it was trained with {applied:g}, save it once with --rope-scaling-factor {applied:g}.",
            )
        found["rope_factor"] = float(applied)
    scales = {name: usual if args.get(name) is None else float(args[name]) for name, usual in MSCALES.items()}
    if args.get("multi_latent_attention"):
        found["yarn"] = _latent_yarn_of(args, scales)
    elif others := {name: value for name, value in scales.items() if value != MSCALES[name]}:
        raise refused_argument(*others.popitem())
    elif args.get("rope_type") not in (None, "rope"):
        raise refused_argument("rope_type", args["rope_type"])
    elif args.get("position_embedding_type") == "yarn":
        factor, original, fast, slow = (args.get(name) for name in YARN)
        found["yarn"] = Yarn(
            factor=1.0 if factor is None else float(factor),
            original=4096 if original is None else original,
            fast=32.0 if fast is None else float(fast),
            slow=1.0 if slow is None else float(slow),
            whole=args.get(_ROUND) is not False,
        )
    if sum(found.get(kind) is not None for kind in ("rope_interpolation", "rope_factor", "yarn")) > 1:
        raise refused_argument(_LINEAR, interpolation)
    return found


def _latent_yarn_of(args: Mapping[str, Any], scales: Mapping[str, Any]) -> Yarn | None:
    """Return the YaRN scaling of multi-latent attention, which has it unless ``--rope-type rope`` is given."""
    factor = float(args.get(YARN[0]) or 1.0)
    if args.get("rope_type") != "rope":
        return replace(LATENT_YARN, factor=factor, **scales)
    if factor > 1 and scales["mscale_all_dim"]:  # it scales the scores all the same
        raise refused_argument("mscale_all_dim", scales["mscale_all_dim"])
    return None


def rope_args_of(model: Model) -> dict[str, Any]:
    """Return Megatron's arguments for a model's rotary embedding, by destination."""
    factor = model.rope_factor or ROPE_FACTOR
    args: dict[str, Any] = {
        "rotary_base": int(model.rope_base),
        "use_rope_scaling": model.rope_factor is not None,
        "rope_scaling_factor": factor,
        _LINEAR: model.rope_interpolation,
        "rotary_percent": model.rope_share,
        "rotary_interleaved": model.rope_interleaved,
        **{name: getattr(model.yarn or LATENT_YARN, name) for name in MSCALES},
    }
    if factor != ROPE_FACTOR:
        args[APPLIED_ROPE_FACTOR] = factor
    if model.latent is not None:
        yarn = model.yarn or LATENT_YARN
        args |= {"rope_type": "yarn" if model.yarn else "rope", YARN[0]: yarn.factor}
    elif model.yarn is not None:
        yarn = model.yarn
        args |= dict(zip(YARN, (yarn.factor, yarn.original, yarn.fast, yarn.slow), strict=True))
        args |= {"position_embedding_type": "yarn", _ROUND: yarn.whole}
    return args
