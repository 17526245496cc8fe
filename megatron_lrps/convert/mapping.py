"""The rows of Megatron's tensors that each Hugging Face weight consists of.

Megatron keeps a layer's queries, keys and values in one matrix, group by group, and the MLP's gate above its up
projection. In both cases a Hugging Face weight is some rows of Megatron's tensor, one after the other (transposed for
GPT-2), so one table serves both directions.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from megatron_lrps.convert.architecture import Latent, Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.family import WeightNames
from megatron_lrps.convert.mamba_weights import mamba_weights
from megatron_lrps.convert.weight import Weight
from megatron_lrps.plan.hybrid_pattern import ATTENTION, EXPERTS, MAMBA, MLP

WORD_EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT_LAYER = "output_layer.weight"
PADDED = (WORD_EMBEDDING, OUTPUT_LAYER)
"""The tensors with one row for each token, and Megatron's padding rows behind them."""

EXPERT_BIAS = "mlp.router.expert_bias"
"""The ending of the key of a router's biases, which Megatron and transformers both keep in fp32."""

_INPUT_NORM = "self_attention.linear_qkv.layer_norm_"
_MLP_NORM = "mlp.linear_fc1.layer_norm_"
_LATENT_NORMS = {
    "self_attention.linear_q_up_proj.layer_norm_": "self_attention.q_layernorm.",
    "self_attention.linear_kv_up_proj.layer_norm_": "self_attention.kv_layernorm.",
}
_ALIASES = {_INPUT_NORM: "input_layernorm.", _MLP_NORM: "pre_mlp_layernorm.", **_LATENT_NORMS}
"""Other names of norms: some layer specs keep them apart from the linear layer behind them."""


def weights_of(model: Model) -> list[Weight]:
    """Return every weight of the model, in the order of its layers."""
    names = FAMILIES[model.family].names
    hidden = (model.hidden,)
    found = [Weight(name=names.embedding, key=WORD_EMBEDDING, index=(), rows=((0, model.vocab),), inner=hidden)]
    if names.positions:
        key = "embedding.position_embeddings.weight"
        found.append(Weight(name=names.positions, key=key, index=(), rows=((0, model.positions),), inner=hidden))
    for layer in range(model.layers):
        kind = model.pattern[layer : layer + 1]
        if kind == MAMBA:
            found += mamba_weights(model, f"{names.layer}.{layer}.", f"decoder.layers.{layer}.")
        if kind in ("", ATTENTION):
            found += _attention(model, names, layer)
        if kind in ("", MLP, EXPERTS):
            found += _mlp(model, names, layer)
    last = "decoder.final_norm." if model.pattern else "decoder.final_layernorm."
    found += _norm(names, names.norm, last, (), model.hidden)
    if not model.tied:
        found.append(Weight(name=names.head, key=OUTPUT_LAYER, index=(), rows=((0, model.vocab),), inner=hidden))
    return found


def _layer(model: Model, layer: int) -> tuple[str, tuple[int, ...]]:
    """Return the prefix of a layer's keys, and its index; layers that differ have tensors of their own."""
    alike = model.dense is None and not model.pattern
    return ("decoder.layers.", (layer,)) if alike else (f"decoder.layers.{layer}.", ())


def _norm(
    names: WeightNames, name: str, key: str, index: tuple[int, ...], size: int, alias: str = ""
) -> Iterator[Weight]:
    for kind in ("weight", "bias") if names.norm_bias else ("weight",):
        also = f"{alias}{kind}" if alias else ""
        yield Weight(name=f"{name}.{kind}", key=f"{key}{kind}", index=index, rows=((0, size),), inner=(), alias=also)


def _linear(
    names: WeightNames,
    name: str,
    key: str,
    index: tuple[int, ...],
    rows: tuple[tuple[int, int], ...],
    columns: int,
    *,
    bias: bool,
) -> Iterator[Weight]:
    transposed = names.transposed
    yield Weight(
        name=f"{name}.weight", key=f"{key}.weight", index=index, rows=rows, inner=(columns,), transposed=transposed
    )
    if bias:
        yield Weight(name=f"{name}.bias", key=f"{key}.bias", index=index, rows=rows, inner=())


def _latent_attention(model: Model, names: WeightNames, latent: Latent, layer: int) -> Iterator[Weight]:
    """Yield the weights of multi-latent attention; all rows have the order that Megatron gives them."""
    own, (prefix, index) = f"{names.layer}.{layer}", _layer(model, layer)
    attention = f"{prefix}self_attention."
    yield from _norm(names, f"{own}.{names.input_norm}", f"{prefix}{_ALIASES[_INPUT_NORM]}", index, model.hidden)
    sizes = (
        ((latent.queries, model.hidden), (model.heads * model.head_dim, latent.queries)),
        ((latent.keys + latent.turned, model.hidden), (model.heads * (latent.plain + latent.value), latent.keys)),
    )
    for part, called, ((down, hidden), (up, rank)), (norm, alias) in zip(
        ("q", "kv"), names.latent, sizes, _LATENT_NORMS.items(), strict=True
    ):
        key = f"{attention}linear_{part}"
        yield from _linear(names, f"{own}.{called[0]}", f"{key}_down_proj", index, ((0, down),), hidden, bias=False)
        yield from _norm(names, f"{own}.{called[1]}", f"{prefix}{norm}", index, rank, alias=f"{prefix}{alias}")
        yield from _linear(names, f"{own}.{called[2]}", f"{key}_up_proj", index, ((0, up),), rank, bias=False)
    name, columns = f"{own}.{names.attention_output}", model.heads * latent.value
    yield from _linear(names, name, f"{attention}linear_proj", index, ((0, model.hidden),), columns, bias=False)


def _attention(model: Model, names: WeightNames, layer: int) -> Iterator[Weight]:
    if model.latent:
        yield from _latent_attention(model, names, model.latent, layer)
        return
    own, (prefix, index) = f"{names.layer}.{layer}", _layer(model, layer)
    yield from _norm(names, f"{own}.{names.input_norm}", f"{prefix}{_INPUT_NORM}", index, model.hidden)
    key, d = f"{prefix}self_attention.linear_qkv", model.head_dim
    queries = model.heads // model.groups * d
    starts = [group * (queries + 2 * d) for group in range(model.groups)]
    parts = [
        tuple((start, start + queries) for start in starts),
        tuple((start + queries, start + queries + d) for start in starts),
        tuple((start + queries + d, start + queries + 2 * d) for start in starts),
    ]
    if len(names.qkv) == 1:
        parts = [tuple(row for part in parts for row in part)]
    for name, rows in zip(names.qkv, parts, strict=True):
        yield from _linear(names, f"{own}.{name}", key, index, rows, model.hidden, bias=model.qkv_bias)
    if names.sinks:
        key_of_sinks = f"{prefix}self_attention.core_attention.softmax_offset"
        yield Weight(name=f"{own}.{names.sinks}", key=key_of_sinks, index=index, rows=((0, model.heads),), inner=())
    if model.qk_norm:
        for part, name in zip("qk", names.qk_norms, strict=True):
            norm = f"{prefix}self_attention.{part}_layernorm."
            yield from _norm(names, f"{own}.{name}", norm, index, d)
    name, key = f"{own}.{names.attention_output}", f"{prefix}self_attention.linear_proj"
    yield from _linear(names, name, key, index, ((0, model.hidden),), model.heads * d, bias=model.bias)


def _mlp(model: Model, names: WeightNames, layer: int) -> Iterator[Weight]:
    own, hidden, (prefix, index) = f"{names.layer}.{layer}", (model.hidden,), _layer(model, layer)
    norm, alias = f"{own}.{names.mlp_norm}", f"{prefix}{_ALIASES[_MLP_NORM]}"
    if not model.experts or (model.dense and model.dense[layer]) or model.pattern[layer : layer + 1] == MLP:
        alias = alias if model.latent else ""  # every other layer spec has the first name here
        yield from _norm(names, norm, f"{prefix}{_MLP_NORM}", index, model.hidden, alias=alias)
        parts = [f"{own}.{part}" for part in names.mlp]
        yield from _projections(model, names, index, f"{prefix}mlp.", parts, model.dense_ffn or model.ffn)
        return
    yield from _norm(names, norm, f"{prefix}{_MLP_NORM}", index, model.hidden, alias=alias)
    router, rows = f"{prefix}mlp.router.weight", ((0, model.experts),)
    yield Weight(name=f"{own}.{names.router}", key=router, index=index, rows=rows, inner=hidden)
    if names.expert_bias:
        key = f"{prefix}{EXPERT_BIAS}"
        yield Weight(name=f"{own}.{names.expert_bias}", key=key, index=index, rows=rows, inner=())
    if names.router_bias:
        yield Weight(
            name=f"{own}.{names.router_bias}", key=f"{prefix}mlp.router.bias", index=index, rows=rows, inner=()
        )
    if names.stacked:
        yield from _stacked(model, names, index, f"{prefix}mlp.experts.experts.", f"{own}.{names.experts}")
    for expert in range(0 if names.stacked else model.experts):
        parts = [f"{own}.{names.experts}.{expert}.{part}" for part in names.expert]
        key = f"{prefix}mlp.experts.experts."
        yield from _projections(model, names, (*index, expert), key, parts, model.ffn)
    if model.shared_ffn:
        key = f"{prefix}mlp.shared_experts."
        parts = [f"{own}.{names.shared_expert}.{part}" for part in names.expert]
        yield from _projections(model, names, index, key, parts, model.shared_ffn)
        if names.shared_expert_gate:
            name = f"{own}.{names.shared_expert_gate}"
            yield Weight(name=name, key=f"{key}gate_weight", index=index, rows=((0, 1),), inner=hidden)


def _stacked(model: Model, names: WeightNames, index: tuple[int, ...], key: str, own: str) -> Iterator[Weight]:
    """Yield the projections of all experts in one: gate and up, and down."""
    sizes = ((2 * model.ffn, model.hidden), (model.hidden, model.ffn))
    for number, (name, (rows, columns)) in enumerate(zip(names.expert, sizes, strict=True), start=1):
        weight = Weight(
            name=f"{own}.{name}",
            key=f"{key}linear_fc{number}.weight",
            index=index,
            rows=((0, rows),),
            inner=(columns,),
            transposed=True,
            stacked=model.experts,
            interleaved=number == 1,
        )
        yield weight
        if model.bias:
            name, bias = f"{weight.name}_bias", f"{key}linear_fc{number}.bias"
            yield replace(weight, name=name, key=bias, inner=(), transposed=False)


def _projections(
    model: Model, names: WeightNames, index: tuple[int, ...], key: str, parts: Sequence[str], ffn: int
) -> Iterator[Weight]:
    """Yield an MLP's projections; gate and up are one tensor of Megatron's, and of some families'."""
    *first, second = parts
    size = ffn if model.ungated else 2 * ffn // len(first)
    for number, name in enumerate(first):
        rows = ((number * size, (number + 1) * size),)
        yield from _linear(names, name, f"{key}linear_fc1", index, rows, model.hidden, bias=model.bias)
    yield from _linear(names, second, f"{key}linear_fc2", index, ((0, model.hidden),), ffn, bias=model.bias)


def megatron_shapes(model: Model, *, padded: int) -> dict[str, tuple[int, ...]]:
    """Return Megatron's tensors of a model: key -> whole shape.

    Args:
        model: The model.
        padded: The rows of the word embedding, padding included.
    """
    lead: dict[str, tuple[int, ...]] = {}
    rows: dict[str, int] = {}
    inner: dict[str, tuple[int, ...]] = {}
    for weight in weights_of(model):
        lead[weight.key] = tuple(i + 1 for i in weight.parts[-1])  # the last layer and expert come last
        rows[weight.key] = max(rows.get(weight.key, 0), *(stop for _, stop in weight.rows))
        inner[weight.key] = weight.inner
    return {key: (*lead[key], padded if key in PADDED else rows[key], *inner[key]) for key in lead}


def stored_key(key: str, stored: Collection[str]) -> str:
    """Return the name under which a checkpoint has the tensor ``key``, or ``key`` itself if it does not have it."""
    alias = other_key(key)
    return alias if key not in stored and alias in stored else key


def other_key(key: str) -> str:
    """Return the key that other layer specs give to a norm, or ``key`` itself if it is none."""
    for usual, other in _ALIASES.items():
        if usual in key:
            return key.replace(usual, other)
        if other in key:
            return key.replace(other, usual)
    return key


def elements(shape: tuple[int, ...]) -> int:
    """Return the number of values in a tensor."""
    return math.prod(shape)


def alias_of(key: str, keys: Collection[str], *, latent: bool) -> str:
    """Return the other key under which the layers of another spec read the same norm, or "" if all use this one.

    Args:
        key: The key of Megatron's tensor.
        keys: All keys of the model; a router among them tells a layer with experts.
        latent: The model has multi-latent attention. The norms of queries of other models have the name of one of its.
    """
    name = next((each for each in (_MLP_NORM, _ALIASES[_MLP_NORM]) if each in key), None)
    if name is not None:
        return other_key(key) if latent or f"{key.partition(name)[0]}mlp.router.weight" in keys else ""
    ranks = any(each in key for names in _LATENT_NORMS.items() for each in names)
    return other_key(key) if latent and ranks else ""
