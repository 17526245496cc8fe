"""The rotary embedding of a config.json: base and scaling, which transformers 4 and 5 write under different keys."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from megatron_lrps.convert.architecture import LATENT_YARN, LLAMA3_ROPE, Model, Yarn
from megatron_lrps.convert.families.config_keys import ConfigKeys, shown
from megatron_lrps.errors import RefusedError

DEFAULTS: Mapping[str, Any] = {
    "rope_theta": 1e4,
    "rope_scaling": None,
    "rope_parameters": None,
    "partial_rotary_factor": 1.0,
    "original_max_position_embeddings": None,
}
"""The values of absent keys."""
_COMMON = ("rope_type", "type", "rope_theta", "partial_rotary_factor")
_OF_TYPE: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", *LLAMA3_ROPE),
    "yarn": (
        *("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"),
        *("mscale", "mscale_all_dim", "truncate"),
    ),
}


KINDS = tuple(_OF_TYPE)
"""The types of scaling that Megatron has."""


class Rope(NamedTuple):
    """A rotary embedding, by the attributes of ``Model``."""

    rope_base: float
    rope_factor: float | None = None
    rope_interpolation: int | None = None
    yarn: Yarn | None = None


def rope_of(config: ConfigKeys, positions: int, *, kinds: Collection[str] = KINDS, latent: bool = False) -> Rope:
    """Return the rotary embedding of a config.json.

    Args:
        config: The config.
        positions: Its ``max_position_embeddings``, which stands for a missing ``original_max_position_embeddings``.
        kinds: The types of scaling that the family and Megatron both have.
        latent: The model has multi-latent attention, where YaRN changes the scale of attention scores too.

    Raises:
        RefusedError: naming the key that Megatron cannot compute with, or two keys that disagree.
    """
    scaling = _scaling(config)
    base = config.number_of("rope_theta", scaling.get("rope_theta", config.value("rope_theta")))
    if "rope_theta" in config and base != config.number("rope_theta"):
        raise _disagreeing(config, "rope_theta", config.value("rope_theta"), base)
    if base != int(base):
        raise config.refused("rope_theta", "Megatron takes only a whole number", base)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if scaling.get("type", kind) != kind:
        raise _disagreeing(config, "rope_type", kind, scaling["type"])
    if not isinstance(kind, str) or kind not in kinds:
        raise config.refused("rope_type", f"{' or '.join(map(repr, kinds))} can be", kind)
    for key, value in scaling.items():
        if key not in (*_COMMON, *_OF_TYPE[kind]):
            raise RefusedError(
                f"{config.name}: the key {shown(key)} (with value {shown(value)}) of its RoPE parameters is not known.",
                "import another model.",
            )
    original = config.value("original_max_position_embeddings") if "yarn" in kinds else None
    config.harmless("original_max_position_embeddings")
    if kind not in ("llama3", "yarn"):
        if original is not None:
            raise config.refused("original_max_position_embeddings", f"RoPE of type {kind} has none")
        return Rope(base) if kind == "default" else Rope(base, rope_interpolation=_interpolation(config, scaling))
    inside = scaling.get("original_max_position_embeddings", positions if original is None else original)
    if original is not None and inside != original:
        raise _disagreeing(config, "original_max_position_embeddings", original, inside)
    scaling["original_max_position_embeddings"] = inside
    factor = config.number_of("factor", scaling.get("factor"))
    if kind == "yarn":
        return Rope(base, yarn=_latent_yarn(config, scaling, factor) if latent else _yarn(config, scaling, factor))
    for key, value in LLAMA3_ROPE.items():
        if scaling.get(key) != value or isinstance(scaling[key], bool):
            raise config.refused(key, f"Megatron computes llama3's RoPE with {value:g} alone", scaling.get(key))
    return Rope(base, rope_factor=factor)


def share_of(config: ConfigKeys, *, whole: bool = True) -> float:
    """Return the share of a head's width that the rotary embedding turns.

    Args:
        config: The config.
        whole: The family turns all of it.

    Raises:
        RefusedError: the share is not above 0 and at most 1, or two keys disagree.
    """
    given = config.value("partial_rotary_factor")
    share = _scaling(config).get("partial_rotary_factor", given)
    if "partial_rotary_factor" in config and given is not None and share != given:
        raise _disagreeing(config, "partial_rotary_factor", given, share)
    share = 1.0 if share is None else share
    if type(share) not in (int, float) or not 0 < share <= 1 or (whole and share != 1):
        raise config.refused("partial_rotary_factor", "1.0 can" if whole else "a number up to 1 can", share)
    return float(share)


def keys_of(model: Model) -> dict[str, Any]:
    """Return the config.json keys of a model's rotary embedding, as transformers 4 and 5 and vLLM read them."""
    keys: dict[str, Any] = {"rope_theta": model.rope_base}
    if model.rope_share != 1:
        keys["partial_rotary_factor"] = model.rope_share
    if model.rope_factor is not None:
        keys["rope_scaling"] = {"rope_type": "llama3", "factor": model.rope_factor, **LLAMA3_ROPE}
    if (yarn := model.yarn) is not None:
        keys["rope_scaling"] = {
            "rope_type": "yarn",
            "factor": yarn.factor,
            "original_max_position_embeddings": yarn.original,
            "beta_fast": yarn.fast,
            "beta_slow": yarn.slow,
            "truncate": yarn.whole,
        }
        if yarn.mscale_all_dim:
            keys["rope_scaling"] |= {"mscale": yarn.mscale, "mscale_all_dim": yarn.mscale_all_dim}
    if model.rope_interpolation is not None:
        keys["rope_scaling"] = {"rope_type": "linear", "factor": float(model.rope_interpolation)}
    return keys


def _scaling(config: ConfigKeys) -> dict[str, Any]:
    """Return the mapping of RoPE parameters; transformers 4 calls it ``rope_scaling`` and 5 ``rope_parameters``."""
    found = {}
    for key in ("rope_scaling", "rope_parameters"):
        value = config.value(key)
        if value is not None and not isinstance(value, dict):
            raise config.refused(key, "it is a mapping")
        if value:
            found[key] = value
    if len(found) == 2 and found["rope_scaling"] != found["rope_parameters"]:
        raise _disagreeing(config, "rope_scaling", *found.values())
    return dict(next(iter(found.values()), {}))


def _interpolation(config: ConfigKeys, scaling: Mapping[str, Any]) -> int:
    factor = config.number_of("factor", scaling.get("factor"))
    if factor != int(factor):
        raise config.refused("factor", "Megatron interpolates only by a whole number", factor)
    return int(factor)


def _yarn(config: ConfigKeys, scaling: Mapping[str, Any], factor: float) -> Yarn:
    """Return the YaRN scaling; the attention factor must be the one that follows from ``factor``, as in Megatron."""
    for key in ("mscale", "mscale_all_dim"):
        if scaling.get(key) is not None:
            raise config.refused(key, "null can", scaling[key])
    yarn = _yarn_range(config, scaling, factor)
    _refuse_other_attention_factor(config, scaling, _grown(factor, 1.0))
    return yarn


def _latent_yarn(config: ConfigKeys, scaling: Mapping[str, Any], factor: float) -> Yarn:
    """Return the YaRN scaling of multi-latent attention, with what Megatron's flags can say (``LATENT_YARN``)."""
    yarn = _yarn_range(config, scaling, factor)
    for key, found, wanted in (
        ("original_max_position_embeddings", yarn.original, LATENT_YARN.original),
        ("beta_fast", yarn.fast, LATENT_YARN.fast),
        ("beta_slow", yarn.slow, LATENT_YARN.slow),
        ("truncate", yarn.whole, LATENT_YARN.whole),
    ):
        if found != wanted:
            why = f"Megatron has no flag for it with multi-latent attention, and computes with {wanted}"
            raise config.refused(key, why, found)
    mscale, of_scores = (
        config.number_of(key, value) if (value := scaling.get(key)) else None for key in ("mscale", "mscale_all_dim")
    )
    if of_scores is not None and mscale is None:
        raise config.refused("mscale", "beside mscale_all_dim, a number above 0 can", scaling.get("mscale"))
    # Without ``mscale_all_dim``, transformers passes ``mscale`` over.
    yarn = replace(yarn, mscale=mscale, mscale_all_dim=of_scores) if mscale and of_scores else yarn
    _refuse_other_attention_factor(config, scaling, _grown(factor, yarn.mscale) / _grown(factor, yarn.mscale_all_dim))
    return yarn


def _yarn_range(config: ConfigKeys, scaling: Mapping[str, Any], factor: float) -> Yarn:
    """Return the YaRN scaling of the frequencies."""
    original, whole = scaling["original_max_position_embeddings"], scaling.get("truncate", True)
    if type(original) is not int or original <= 0:
        raise config.refused("original_max_position_embeddings", "Megatron needs a whole number above 0", original)
    if type(whole) is not bool:
        raise config.refused("truncate", "it is true or false", whole)
    fast, slow = (
        usual if (value := scaling.get(key)) is None else config.number_of(key, value)
        for key, usual in (("beta_fast", 32.0), ("beta_slow", 1.0))
    )
    return Yarn(factor=factor, original=original, fast=fast, slow=slow, whole=whole)


def _grown(factor: float, mscale: float) -> float:
    """Return what YaRN multiplies queries and keys by, as in both libraries."""
    return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0


def _refuse_other_attention_factor(config: ConfigKeys, scaling: Mapping[str, Any], usual: float) -> None:
    given = scaling.get("attention_factor")
    if given is not None and not math.isclose(config.number_of("attention_factor", given), usual, rel_tol=1e-6):
        why = f"with factor {scaling['factor']:g} Megatron computes with {usual:g}"
        raise config.refused("attention_factor", why, given)


def _disagreeing(config: ConfigKeys, key: str, one: Any, other: Any) -> RefusedError:
    return RefusedError(
        f"{config.name}: {key} is {shown(one)} in one place and {shown(other)} in another.",
        "keep the value that the model was trained with, in a copy of the file.",
    )
