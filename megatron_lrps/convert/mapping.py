"""Which rows of which Megatron tensor a Hugging Face weight is.

Megatron keeps a layer's queries, keys and values in one matrix, group by group, and the MLP's gate above its up
projection. Either way a Hugging Face weight is some rows of Megatron's, one after the other (GPT-2's transposed), so
that one table serves both directions.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from megatron_lrps.convert.architecture import Model

WORD_EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT_LAYER = "output_layer.weight"
PADDED = (WORD_EMBEDDING, OUTPUT_LAYER)
"""Keys with one row a token, and Megatron's padding rows behind them."""

_LAYERS = "decoder.layers"
_INPUT_NORM = f"{_LAYERS}.self_attention.linear_qkv.layer_norm_"
_MLP_NORM = f"{_LAYERS}.mlp.linear_fc1.layer_norm_"
_ALIASES = {
    _INPUT_NORM: f"{_LAYERS}.input_layernorm.",
    _MLP_NORM: f"{_LAYERS}.pre_mlp_layernorm.",
}
"""Norms that a layer spec keeps apart from the linear layer behind them, as Transformer Engine's does for experts."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One Hugging Face weight.

    Attributes:
        name: Its own.
        key: Megatron's tensor.
        index: (layer,), (layer, expert) or empty: which part of that.
        rows: (start, stop) ranges of that part's rows, in the weight's order.
        inner: What follows the rows in Megatron's shape: (columns,) or empty.
        transposed: The weight is the transpose.
    """

    name: str
    key: str
    index: tuple[int, ...]
    rows: tuple[tuple[int, int], ...]
    inner: tuple[int, ...]
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """As Hugging Face has it."""
        shape = (sum(stop - start for start, stop in self.rows), *self.inner)
        return shape[::-1] if self.transposed else shape


@dataclass(frozen=True, kw_only=True)
class _Names:
    """A family's names: of whole weights, and of a layer's."""

    layer: str
    embedding: str = "model.embed_tokens.weight"
    norm: str = "model.norm"
    head: str = "lm_head.weight"
    input_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"


_LLAMA = _Names(layer="model.layers")
_GPT2 = _Names(
    layer="transformer.h",
    embedding="transformer.wte.weight",
    norm="transformer.ln_f",
    input_norm="ln_1",
    mlp_norm="ln_2",
)


def weights_of(model: Model) -> list[Weight]:
    """Every weight of the model, in the order of its layers."""
    names = _GPT2 if model.family == "gpt2" else _LLAMA
    hidden = (model.hidden,)
    found = [Weight(name=names.embedding, key=WORD_EMBEDDING, index=(), rows=((0, model.vocab),), inner=hidden)]
    if model.family == "gpt2":
        key = "embedding.position_embeddings.weight"
        found.append(
            Weight(name="transformer.wpe.weight", key=key, index=(), rows=((0, model.positions),), inner=hidden)
        )
    for layer in range(model.layers):
        found += _attention(model, names, layer)
        found += _mlp(model, names, layer)
    found += _norm(model, names.norm, "decoder.final_layernorm.", (), model.hidden)
    if not model.tied:
        found.append(Weight(name=names.head, key=OUTPUT_LAYER, index=(), rows=((0, model.vocab),), inner=hidden))
    return found


def _norm(model: Model, name: str, key: str, index: tuple[int, ...], size: int) -> Iterator[Weight]:
    for kind in ("weight", "bias") if model.family == "gpt2" else ("weight",):
        yield Weight(name=f"{name}.{kind}", key=f"{key}{kind}", index=index, rows=((0, size),), inner=())


def _linear(
    name: str,
    key: str,
    index: tuple[int, ...],
    rows: tuple[tuple[int, int], ...],
    columns: int,
    *,
    model: Model,
    bias: bool,
) -> Iterator[Weight]:
    transposed = model.family == "gpt2"
    yield Weight(
        name=f"{name}.weight", key=f"{key}.weight", index=index, rows=rows, inner=(columns,), transposed=transposed
    )
    if bias:
        yield Weight(name=f"{name}.bias", key=f"{key}.bias", index=index, rows=rows, inner=())


def _attention(model: Model, names: _Names, layer: int) -> Iterator[Weight]:
    own, index = f"{names.layer}.{layer}", (layer,)
    yield from _norm(model, f"{own}.{names.input_norm}", _INPUT_NORM, index, model.hidden)
    key, d = f"{_LAYERS}.self_attention.linear_qkv", model.head_dim
    queries = model.heads // model.groups * d
    starts = [group * (queries + 2 * d) for group in range(model.groups)]
    parts = {
        "q": tuple((start, start + queries) for start in starts),
        "k": tuple((start + queries, start + queries + d) for start in starts),
        "v": tuple((start + queries + d, start + queries + 2 * d) for start in starts),
    }
    if model.family == "gpt2":
        rows = tuple(row for part in parts.values() for row in part)
        yield from _linear(f"{own}.attn.c_attn", key, index, rows, model.hidden, model=model, bias=True)
    else:
        for part, rows in parts.items():
            name = f"{own}.self_attn.{part}_proj"
            yield from _linear(name, key, index, rows, model.hidden, model=model, bias=model.qkv_bias)
    if model.qk_norm:
        for part in ("q", "k"):
            name, norm = f"{own}.self_attn.{part}_norm", f"{_LAYERS}.self_attention.{part}_layernorm."
            yield from _norm(model, name, norm, index, d)
    name = f"{own}.attn.c_proj" if model.family == "gpt2" else f"{own}.self_attn.o_proj"
    key, rows = f"{_LAYERS}.self_attention.linear_proj", ((0, model.hidden),)
    yield from _linear(name, key, index, rows, model.heads * d, model=model, bias=model.bias)


def _mlp(model: Model, names: _Names, layer: int) -> Iterator[Weight]:
    own = f"{names.layer}.{layer}"
    yield from _norm(model, f"{own}.{names.mlp_norm}", _MLP_NORM, (layer,), model.hidden)
    first, second = f"{_LAYERS}.mlp.linear_fc1", f"{_LAYERS}.mlp.linear_fc2"
    hidden, ffn, whole = model.hidden, model.ffn, ((0, model.hidden),)
    if model.family == "gpt2":
        yield from _linear(f"{own}.mlp.c_fc", first, (layer,), ((0, ffn),), hidden, model=model, bias=True)
        yield from _linear(f"{own}.mlp.c_proj", second, (layer,), whole, ffn, model=model, bias=True)
        return
    mlp, gate, up, down = f"{own}.mlp", "gate_proj", "up_proj", "down_proj"
    indices: list[tuple[tuple[int, ...], str]] = [((layer,), mlp)]
    if model.experts:
        if model.family == "mixtral":
            mlp, gate, up, down = f"{own}.block_sparse_moe", "w1", "w3", "w2"
        router, rows = f"{_LAYERS}.mlp.router.weight", ((0, model.experts),)
        yield Weight(name=f"{mlp}.gate.weight", key=router, index=(layer,), rows=rows, inner=(hidden,))
        first, second = (f"{_LAYERS}.mlp.experts.experts.{name}" for name in ("linear_fc1", "linear_fc2"))
        indices = [((layer, expert), f"{mlp}.experts.{expert}") for expert in range(model.experts)]
    for index, name in indices:
        yield from _gated(model, index, (first, second), [f"{name}.{part}" for part in (gate, up, down)], ffn)
    if model.shared_ffn:
        key, own = f"{_LAYERS}.mlp.shared_experts.", f"{own}.mlp.shared_expert"
        parts = [f"{own}.{part}" for part in (gate, up, down)]
        yield from _gated(model, (layer,), (f"{key}linear_fc1", f"{key}linear_fc2"), parts, model.shared_ffn)
        rows = ((0, 1),)
        yield Weight(name=f"{own}_gate.weight", key=f"{key}gate_weight", index=(layer,), rows=rows, inner=(hidden,))


def _gated(
    model: Model, index: tuple[int, ...], keys: tuple[str, str], names: Sequence[str], ffn: int
) -> Iterator[Weight]:
    """An MLP of gate, up and down projection, by their names; gate and up are one tensor of Megatron's."""
    for name, begin in zip(names, (0, ffn), strict=False):
        yield from _linear(name, keys[0], index, ((begin, begin + ffn),), model.hidden, model=model, bias=model.bias)
    yield from _linear(names[2], keys[1], index, ((0, model.hidden),), ffn, model=model, bias=model.bias)


def megatron_shapes(model: Model, *, padded: int) -> dict[str, tuple[int, ...]]:
    """Megatron's tensors of a model: key -> whole shape.

    Args:
        model: What it is.
        padded: Rows of the word embedding, padding included.
    """
    lead: dict[str, tuple[int, ...]] = {}
    rows: dict[str, int] = {}
    inner: dict[str, tuple[int, ...]] = {}
    for weight in weights_of(model):
        lead[weight.key] = tuple(i + 1 for i in weight.index)  # the last layer and expert come last
        rows[weight.key] = max(rows.get(weight.key, 0), *(stop for _, stop in weight.rows))
        inner[weight.key] = weight.inner
    return {key: (*lead[key], padded if key in PADDED else rows[key], *inner[key]) for key in lead}


def stored_key(key: str, stored: Mapping[str, object]) -> str:
    """The name under which a checkpoint has the tensor ``key``; ``key`` itself where it has none."""
    if key not in stored:
        for usual, other in _ALIASES.items():
            if key.startswith(usual) and (alias := other + key.removeprefix(usual)) in stored:
                return alias
    return key


def elements(shape: tuple[int, ...]) -> int:
    """How many values a tensor has."""
    return math.prod(shape)
